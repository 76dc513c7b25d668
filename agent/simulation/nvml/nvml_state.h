/*
 * What the simulated NVML library and its plant share: the state file's layout, and what stands between a call and it.
 *
 * Every number in the file is an aligned 64-bit word that is read and written whole. The layout is mirrored by
 * state.py; negawatt_nvml_layout() is how a test holds the two equal. A word of inject[] lets one function fail with
 * an NVML code: the code in its lower half, in its upper half for how many calls more (0: until it is taken back).
 *
 * Reference: NVML API reference manual (nvml.h).
 */

#ifndef NEGAWATT_NVML_STATE_H
#define NEGAWATT_NVML_STATE_H

#include <stddef.h>
#include <stdint.h>

#define STATE_MAGIC 0x3154544157414745ull /* "EGAWATT1" */
#define STATE_VERSION 2
#define RING_LENGTH 1024
#define HEADER_BYTES 4096
#define MIG_MAX 7

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25
};

/* Every function an error can be injected into. */
#define SYMBOLS(S) \
    S(nvmlInitWithFlags) S(nvmlShutdown) S(nvmlSystemGetDriverVersion) S(nvmlSystemGetNVMLVersion) \
    S(nvmlDeviceGetCount_v2) S(nvmlDeviceGetHandleByIndex_v2) S(nvmlDeviceGetHandleByUUID) S(nvmlDeviceGetIndex) \
    S(nvmlDeviceGetName) S(nvmlDeviceGetUUID) S(nvmlDeviceGetSerial) S(nvmlDeviceGetPciInfo_v3) \
    S(nvmlDeviceGetPersistenceMode) S(nvmlDeviceGetMigMode) S(nvmlDeviceGetMaxMigDeviceCount) \
    S(nvmlDeviceGetMigDeviceHandleByIndex) S(nvmlDeviceIsMigDeviceHandle) \
    S(nvmlDeviceGetDeviceHandleFromMigDeviceHandle) S(nvmlDeviceGetGpuInstanceId) S(nvmlDeviceGetComputeInstanceId) \
    S(nvmlDeviceGetPowerUsage) S(nvmlDeviceGetTotalEnergyConsumption) S(nvmlDeviceGetUtilizationRates) \
    S(nvmlDeviceGetTemperature) S(nvmlDeviceGetTemperatureV) S(nvmlDeviceGetClockInfo) S(nvmlDeviceGetMaxClockInfo) \
    S(nvmlDeviceGetSupportedMemoryClocks) S(nvmlDeviceGetSupportedGraphicsClocks) \
    S(nvmlDeviceGetCurrentClocksEventReasons) S(nvmlDeviceGetMemoryInfo) S(nvmlDeviceGetComputeRunningProcesses_v3) \
    S(nvmlDeviceGetFieldValues) S(nvmlDeviceGetPowerManagementLimit) S(nvmlDeviceGetPowerManagementDefaultLimit) \
    S(nvmlDeviceGetPowerManagementLimitConstraints) S(nvmlDeviceGetEnforcedPowerLimit) \
    S(nvmlDeviceSetPowerManagementLimit) S(nvmlDeviceSetPowerManagementLimit_v2) S(nvmlDeviceSetGpuLockedClocks) \
    S(nvmlDeviceResetGpuLockedClocks)

#define S(name) SYMBOL_##name,
enum { SYMBOLS(S) SYMBOL_COUNT };
#undef S

/* Each list names the fields of a struct once, for the struct and for its printed layout. */
#define HEADER_FIELDS \
    WORD(magic) WORD(version) WORD(gpu_count) WORD(gpu_bytes) WORD(ring_length) \
    TEXT(driver_version, 80) TEXT(nvml_version, 80) WORD(loads) WORDS(inject, SYMBOL_COUNT)

#define GPU_FIELDS \
    TEXT(uuid, 96) TEXT(name, 96) TEXT(serial, 32) TEXT(pci_bus_id, 32) TEXTS(mig_uuid, MIG_MAX, 96) \
    WORD(min_limit_mw) WORD(max_limit_mw) WORD(default_limit_mw) \
    WORD(min_clock_mhz) WORD(max_clock_mhz) WORD(memory_total_bytes) WORD(no_power_fields) WORD(not_persistent) WORD(mig_mode) \
    WORD(power_average_mw) WORD(power_instant_mw) WORD(energy_mj) WORD(utilization_pct) WORD(temperature_c) \
    WORD(clock_mhz) WORD(throughput_ppm) WORD(memory_used_bytes) WORD(event_reasons) WORD(process_id) WORD(lost) WORD(out_of_band_mw) \
    WORD(cap_mw) WORD(lock_min_mhz) WORD(lock_max_mhz) WORD(cap_writes) WORD(clock_writes) \
    WORDS(inject, SYMBOL_COUNT)

#define WRITE_FIELDS WORD(sequence) WORD(at_ns) WORD(cap_mw)

#define WORD(field) uint64_t field;
#define WORDS(field, n) uint64_t field[n];
#define TEXT(field, n) char field[n];
#define TEXTS(field, count, n) char field[count][n];
typedef struct { HEADER_FIELDS } header_t;
typedef struct { GPU_FIELDS } gpu_t;
typedef struct { WRITE_FIELDS } cap_write_t; /* sequence counts from 1; 0 is an empty slot */
#undef WORD
#undef WORDS
#undef TEXT
#undef TEXTS

_Static_assert(sizeof(header_t) <= HEADER_BYTES, "the header outgrew its page");

static inline uint64_t load(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void store(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

/* The code to fail with now, and one call less left of it. */
static inline int injected(uint64_t *word) {
    uint64_t now = load(word);
    while (now >> 32 != 0) {
        uint64_t next = now >> 32 == 1 ? 0 : now - (1ull << 32);
        if (__atomic_compare_exchange_n(word, &now, next, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) break;
    }
    return (int)(now & 0xFFFFFFFFu);
}

/* ---- what nvml_sim.c gives to nvml_power.c ---------------------------------------------------------------- */

#define PUBLIC __attribute__((visibility("default")))

gpu_t *nvml_gpus(void);
cap_write_t *nvml_ring_of(const gpu_t *gpu);

/* Which of its GPU's MIG instances a handle is, -1 for the GPU itself; the GPU, unless NULL. */
int nvml_instance_of(const gpu_t *handle, gpu_t **gpu);

/* The code that a function has to answer with at once; handle NULL: it concerns no GPU. */
int nvml_refused(int symbol, const gpu_t *handle);

#define REFUSE(symbol, gpu) \
    do { \
        int refusal_ = nvml_refused(symbol, gpu); \
        if (refusal_ != NVML_SUCCESS) return refusal_; \
    } while (0)

/* For a GPU or a MIG instance of one. */
#define REFUSE_HANDLE(symbol, handle) \
    do { \
        REFUSE(symbol, handle); \
        if ((handle) == NULL) return NVML_ERROR_INVALID_ARGUMENT; \
    } while (0)

/* For whole GPUs only, as all power management is. */
#define REFUSE_DEVICE(symbol, gpu) \
    do { \
        REFUSE_HANDLE(symbol, gpu); \
        if (nvml_instance_of(gpu, NULL) >= 0) return NVML_ERROR_NOT_SUPPORTED; \
    } while (0)

#define NEED(pointer) \
    do { \
        if ((pointer) == NULL) return NVML_ERROR_INVALID_ARGUMENT; \
    } while (0)

#endif
