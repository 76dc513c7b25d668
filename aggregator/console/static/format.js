// Numbers, durations and instants as people read them. Unknown (null) is always the word, never a zero or a dash.

export const UNKNOWN = "unknown";

// signDisplay "negative": what rounds to zero has no sign.
const ONE_DECIMAL = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "negative" });
const MONEY = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const ENERGY = new Intl.NumberFormat("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const CLOCK_WITH_ZONE = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});

export const known = (value) => value !== null && value !== undefined;

export const number = (value) => (known(value) ? ONE_DECIMAL.format(value) : UNKNOWN);
export const kw = (value) => (known(value) ? `${ONE_DECIMAL.format(value)} kW` : UNKNOWN);
export const kwh = (value) => (known(value) ? `${ENERGY.format(value)} kWh` : UNKNOWN);
export const percent = (value) => (known(value) ? `${ONE_DECIMAL.format(value)} %` : UNKNOWN);
export const usd = (value) => (known(value) ? MONEY.format(Number(value)) : UNKNOWN);

export const clock = (ms) => CLOCK.format(ms);
export const clockWithZone = (ms) => CLOCK_WITH_ZONE.format(ms);
export const zone = (ms) =>
  CLOCK_WITH_ZONE.formatToParts(ms).find((part) => part.type === "timeZoneName").value;

// 0:07, 1:30, 2:05:09
export function duration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

// Age of something last heard of; "just now" keeps a healthy page still.
export function age(iso, nowMs) {
  if (!known(iso)) return "never";
  const seconds = (nowMs - Date.parse(iso)) / 1000;
  if (seconds < 2) return "just now";
  if (seconds < 120) return `${Math.floor(seconds)} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}
