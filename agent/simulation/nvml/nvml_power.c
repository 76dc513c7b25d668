/*
 * What the simulated GPUs do and what holds them back: telemetry, power limits and clock locks.
 *
 * Reference: NVML API reference manual (nvml.h). Who answers first, and the file's layout: nvml_sim.c, nvml_state.h.
 */

#include <time.h>

#include "nvml_state.h"

#define MEMORY_CLOCK_MHZ 1593u
#define CLOCK_STEP_MHZ 15u
#define REASON_CLOCKS_SETTING 0x2ull

/* ---- what they do ----------------------------------------------------------------------------------------- */

static int read_word(int symbol, const gpu_t *gpu, size_t offset, unsigned *value) {
    REFUSE_DEVICE(symbol, gpu);
    NEED(value);
    *value = (unsigned)load((const uint64_t *)((const char *)gpu + offset));
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetPowerUsage(const gpu_t *gpu, unsigned *mw) {
    return read_word(SYMBOL_nvmlDeviceGetPowerUsage, gpu, offsetof(gpu_t, power_average_mw), mw);
}

PUBLIC int nvmlDeviceGetTotalEnergyConsumption(const gpu_t *gpu, unsigned long long *mj) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetTotalEnergyConsumption, gpu);
    NEED(mj);
    *mj = load(&gpu->energy_mj);
    return NVML_SUCCESS;
}

typedef struct {
    unsigned gpu, memory;
} utilization_t;

PUBLIC int nvmlDeviceGetUtilizationRates(const gpu_t *gpu, utilization_t *rates) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetUtilizationRates, gpu);
    NEED(rates);
    if (load(&gpu->mig_mode)) return NVML_ERROR_NOT_SUPPORTED;
    rates->gpu = (unsigned)load(&gpu->utilization_pct);
    rates->memory = (unsigned)(100 * load(&gpu->memory_used_bytes) / load(&gpu->memory_total_bytes));
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetTemperature(const gpu_t *gpu, unsigned sensor, unsigned *celsius) {
    int code = read_word(SYMBOL_nvmlDeviceGetTemperature, gpu, offsetof(gpu_t, temperature_c), celsius);
    return code == NVML_SUCCESS && sensor != 0 ? NVML_ERROR_INVALID_ARGUMENT : code;
}

typedef struct {
    unsigned version, sensor;
    int celsius;
} temperature_t;

PUBLIC int nvmlDeviceGetTemperatureV(const gpu_t *gpu, temperature_t *temperature) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetTemperatureV, gpu);
    NEED(temperature);
    if (temperature->version != (sizeof *temperature | (1u << 24))) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (temperature->sensor != 0) return NVML_ERROR_INVALID_ARGUMENT;
    temperature->celsius = (int)load(&gpu->temperature_c);
    return NVML_SUCCESS;
}

/* A lock holds at once; the plant's clock follows it within a second. */
PUBLIC int nvmlDeviceGetClockInfo(const gpu_t *gpu, unsigned type, unsigned *mhz) {
    int code = read_word(SYMBOL_nvmlDeviceGetClockInfo, gpu, offsetof(gpu_t, clock_mhz), mhz);
    if (code == NVML_SUCCESS && type > 1) return NVML_ERROR_NOT_SUPPORTED;
    if (code != NVML_SUCCESS || load(&gpu->lock_max_mhz) == 0) return code;
    unsigned low = (unsigned)load(&gpu->lock_min_mhz), high = (unsigned)load(&gpu->lock_max_mhz);
    *mhz = *mhz > high ? high : *mhz < low ? low : *mhz;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetMaxClockInfo(const gpu_t *gpu, unsigned type, unsigned *mhz) {
    int code = read_word(SYMBOL_nvmlDeviceGetMaxClockInfo, gpu, offsetof(gpu_t, max_clock_mhz), mhz);
    return code == NVML_SUCCESS && type > 1 ? NVML_ERROR_NOT_SUPPORTED : code;
}

PUBLIC int nvmlDeviceGetSupportedMemoryClocks(const gpu_t *gpu, unsigned *count, unsigned *mhz) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetSupportedMemoryClocks, gpu);
    NEED(count);
    unsigned room = *count;
    *count = 1;
    if (room < 1) return NVML_ERROR_INSUFFICIENT_SIZE;
    NEED(mhz);
    *mhz = MEMORY_CLOCK_MHZ;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetSupportedGraphicsClocks(const gpu_t *gpu, unsigned memory_mhz, unsigned *count, unsigned *mhz) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetSupportedGraphicsClocks, gpu);
    NEED(count);
    if (memory_mhz != MEMORY_CLOCK_MHZ) return NVML_ERROR_NOT_FOUND;
    unsigned low = (unsigned)load(&gpu->min_clock_mhz), high = (unsigned)load(&gpu->max_clock_mhz), room = *count;
    *count = (high - low) / CLOCK_STEP_MHZ + 1;
    if (room < *count) return NVML_ERROR_INSUFFICIENT_SIZE;
    NEED(mhz);
    for (unsigned i = 0; i < *count; i++) mhz[i] = high - i * CLOCK_STEP_MHZ;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetCurrentClocksEventReasons(const gpu_t *gpu, unsigned long long *reasons) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetCurrentClocksEventReasons, gpu);
    NEED(reasons);
    *reasons = load(&gpu->event_reasons) | (load(&gpu->lock_max_mhz) != 0 ? REASON_CLOCKS_SETTING : 0);
    return NVML_SUCCESS;
}

typedef struct {
    unsigned long long total, free, used;
} memory_t;

PUBLIC int nvmlDeviceGetMemoryInfo(const gpu_t *gpu, memory_t *memory) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetMemoryInfo, gpu);
    NEED(memory);
    memory->total = load(&gpu->memory_total_bytes);
    memory->used = load(&gpu->memory_used_bytes);
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

typedef struct {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance;
} process_t;

PUBLIC int nvmlDeviceGetComputeRunningProcesses_v3(const gpu_t *gpu, unsigned *count, process_t *processes) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetComputeRunningProcesses_v3, gpu);
    NEED(count);
    uint64_t pid = load(&gpu->process_id);
    unsigned room = *count;
    *count = pid != 0;
    if (room < *count) return NVML_ERROR_INSUFFICIENT_SIZE;
    if (pid == 0) return NVML_SUCCESS;
    NEED(processes);
    processes[0].pid = (unsigned)pid;
    processes[0].used_bytes = load(&gpu->memory_used_bytes);
    processes[0].gpu_instance = processes[0].compute_instance = 0xFFFFFFFFu;
    return NVML_SUCCESS;
}

/* ---- power limits ----------------------------------------------------------------------------------------- */

PUBLIC int nvmlDeviceGetPowerManagementLimit(const gpu_t *gpu, unsigned *mw) {
    return read_word(SYMBOL_nvmlDeviceGetPowerManagementLimit, gpu, offsetof(gpu_t, cap_mw), mw);
}

PUBLIC int nvmlDeviceGetPowerManagementDefaultLimit(const gpu_t *gpu, unsigned *mw) {
    return read_word(SYMBOL_nvmlDeviceGetPowerManagementDefaultLimit, gpu, offsetof(gpu_t, default_limit_mw), mw);
}

PUBLIC int nvmlDeviceGetPowerManagementLimitConstraints(const gpu_t *gpu, unsigned *min_mw, unsigned *max_mw) {
    NEED(max_mw);
    int code = read_word(SYMBOL_nvmlDeviceGetPowerManagementLimitConstraints, gpu, offsetof(gpu_t, min_limit_mw), min_mw);
    if (code == NVML_SUCCESS) *max_mw = (unsigned)load(&gpu->max_limit_mw);
    return code;
}

static uint64_t enforced_mw(const gpu_t *gpu) {
    uint64_t cap = load(&gpu->cap_mw), out_of_band = load(&gpu->out_of_band_mw);
    return out_of_band != 0 && out_of_band < cap ? out_of_band : cap;
}

PUBLIC int nvmlDeviceGetEnforcedPowerLimit(const gpu_t *gpu, unsigned *mw) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetEnforcedPowerLimit, gpu);
    NEED(mw);
    *mw = (unsigned)enforced_mw(gpu);
    return NVML_SUCCESS;
}

static void record_cap(gpu_t *gpu, uint64_t mw) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t number = __atomic_fetch_add(&gpu->cap_writes, 1, __ATOMIC_ACQ_REL);
    cap_write_t *slot = nvml_ring_of(gpu) + number % RING_LENGTH;
    store(&slot->sequence, 0);
    store(&slot->at_ns, (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec);
    store(&slot->cap_mw, mw);
    store(&slot->sequence, number + 1);
}

PUBLIC int nvmlDeviceSetPowerManagementLimit(gpu_t *gpu, unsigned mw) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceSetPowerManagementLimit, gpu);
    if (mw < load(&gpu->min_limit_mw) || mw > load(&gpu->max_limit_mw)) return NVML_ERROR_INVALID_ARGUMENT;
    store(&gpu->cap_mw, mw);
    record_cap(gpu, mw);
    return NVML_SUCCESS;
}

typedef struct {
    unsigned version, scope, mw;
} power_value_t;

PUBLIC int nvmlDeviceSetPowerManagementLimit_v2(gpu_t *gpu, const power_value_t *value) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceSetPowerManagementLimit_v2, gpu);
    NEED(value);
    if (value->version != (sizeof *value | (2u << 24))) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (value->scope != 0) return NVML_ERROR_NOT_SUPPORTED;
    return nvmlDeviceSetPowerManagementLimit(gpu, value->mw);
}

PUBLIC int nvmlDeviceSetGpuLockedClocks(gpu_t *gpu, unsigned min_mhz, unsigned max_mhz) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceSetGpuLockedClocks, gpu);
    if (min_mhz > max_mhz || max_mhz < load(&gpu->min_clock_mhz) || min_mhz > load(&gpu->max_clock_mhz))
        return NVML_ERROR_INVALID_ARGUMENT;
    store(&gpu->lock_min_mhz, min_mhz);
    store(&gpu->lock_max_mhz, max_mhz);
    __atomic_fetch_add(&gpu->clock_writes, 1, __ATOMIC_ACQ_REL);
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceResetGpuLockedClocks(gpu_t *gpu) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceResetGpuLockedClocks, gpu);
    store(&gpu->lock_min_mhz, 0);
    store(&gpu->lock_max_mhz, 0);
    __atomic_fetch_add(&gpu->clock_writes, 1, __ATOMIC_ACQ_REL);
    return NVML_SUCCESS;
}

/* ---- field values ----------------------------------------------------------------------------------------- */

typedef struct {
    unsigned field, scope;
    long long timestamp_us, latency_us;
    unsigned type;
    int code;
    union {
        unsigned ui;
        unsigned long long ull;
    } value;
} field_value_t;

enum { TYPE_UNSIGNED_INT = 1, TYPE_UNSIGNED_LONG_LONG = 3 };

static int read_field(const gpu_t *gpu, field_value_t *out) {
    out->type = TYPE_UNSIGNED_INT;
    if (load(&gpu->no_power_fields) && (out->field == 185 || out->field == 186)) return NVML_ERROR_NOT_SUPPORTED;
    switch (out->field) {
    case 83:
        out->type = TYPE_UNSIGNED_LONG_LONG;
        out->value.ull = load(&gpu->energy_mj);
        return NVML_SUCCESS;
    case 185: out->value.ui = (unsigned)load(&gpu->power_average_mw); return NVML_SUCCESS;
    case 186: out->value.ui = (unsigned)load(&gpu->power_instant_mw); return NVML_SUCCESS;
    case 187: out->value.ui = (unsigned)load(&gpu->min_limit_mw); return NVML_SUCCESS;
    case 188: out->value.ui = (unsigned)load(&gpu->max_limit_mw); return NVML_SUCCESS;
    case 189: out->value.ui = (unsigned)load(&gpu->default_limit_mw); return NVML_SUCCESS;
    case 190: out->value.ui = (unsigned)enforced_mw(gpu); return NVML_SUCCESS;
    case 192: out->value.ui = (unsigned)load(&gpu->cap_mw); return NVML_SUCCESS;
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
}

PUBLIC int nvmlDeviceGetFieldValues(const gpu_t *gpu, int count, field_value_t *values) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetFieldValues, gpu);
    NEED(values);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < count; i++) {
        values[i].timestamp_us = (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        values[i].latency_us = 0;
        values[i].value.ull = 0;
        values[i].code = read_field(gpu, &values[i]);
    }
    return NVML_SUCCESS;
}
