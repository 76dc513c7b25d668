/*
 * A libnvidia-ml.so.1 whose GPUs live in one shared mapped file.
 *
 * It answers the NVML calls that a site agent makes through unmodified pynvml. The plant process creates the file
 * named by NEGAWATT_NVML_STATE and is the only writer of power, energy and temperatures; this library is the only
 * writer of caps and clock locks. So caps outlive whoever set them, as they do in a driver. Every number in the file
 * is an aligned 64-bit word that is read and written whole, and a cap write fills a slot of its own before it
 * publishes the slot's number: readers never wait and never see half a value.
 *
 * Reference: NVML API reference manual (nvml.h). The layout below is mirrored by state.py; negawatt_nvml_layout()
 * is how a test holds the two equal.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

#define STATE_MAGIC 0x3154544157414745ull /* "EGAWATT1" */
#define STATE_VERSION 1
#define RING_LENGTH 1024
#define HEADER_BYTES 4096

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

/* What an injected error hits; state.ErrorClass has the same numbers. */
enum { CLASS_INIT, CLASS_ENUMERATE, CLASS_IDENTITY, CLASS_TELEMETRY, CLASS_LIMIT_READ, CLASS_LIMIT_WRITE, CLASS_CLOCK_WRITE, CLASS_COUNT };

/* Each list names the fields of a struct once, for the struct and for its printed layout. */
#define HEADER_FIELDS \
    WORD(magic) WORD(version) WORD(gpu_count) WORD(gpu_bytes) WORD(ring_length) \
    TEXT(driver_version, 80) TEXT(nvml_version, 80) WORDS(error, CLASS_COUNT)

#define GPU_FIELDS \
    TEXT(uuid, 96) TEXT(name, 96) TEXT(serial, 32) TEXT(pci_bus_id, 32) \
    WORD(min_limit_mw) WORD(max_limit_mw) WORD(default_limit_mw) \
    WORD(min_clock_mhz) WORD(max_clock_mhz) WORD(memory_total_bytes) \
    WORD(power_average_mw) WORD(power_instant_mw) WORD(energy_mj) WORD(utilization_pct) WORD(temperature_c) \
    WORD(clock_mhz) WORD(memory_used_bytes) WORD(event_reasons) WORD(process_id) WORD(lost) WORD(out_of_band_mw) \
    WORD(cap_mw) WORD(lock_min_mhz) WORD(lock_max_mhz) WORD(cap_writes) WORD(clock_writes) \
    WORDS(error, CLASS_COUNT)

#define WRITE_FIELDS WORD(sequence) WORD(at_ns) WORD(cap_mw)

#define WORD(field) uint64_t field;
#define WORDS(field, n) uint64_t field[n];
#define TEXT(field, n) char field[n];
typedef struct { HEADER_FIELDS } header_t;
typedef struct { GPU_FIELDS } gpu_t;
typedef struct { WRITE_FIELDS } cap_write_t; /* sequence counts from 1; 0 is an empty slot */
#undef WORD
#undef WORDS
#undef TEXT

_Static_assert(sizeof(header_t) <= HEADER_BYTES, "the header outgrew its page");

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;
static header_t *state;
static size_t state_bytes;

static uint64_t load(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static void store(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

static gpu_t *gpus(void) { return (gpu_t *)((char *)state + HEADER_BYTES); }

static cap_write_t *ring_of(const gpu_t *gpu) {
    cap_write_t *rings = (cap_write_t *)(gpus() + state->gpu_count);
    return rings + (size_t)(gpu - gpus()) * RING_LENGTH;
}

/* ---- library ---------------------------------------------------------------------------------------------- */

static int map_state(void) {
    const char *path = getenv("NEGAWATT_NVML_STATE");
    if (path == NULL) return NVML_ERROR_DRIVER_NOT_LOADED;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return NVML_ERROR_DRIVER_NOT_LOADED;
    struct stat info;
    void *map = MAP_FAILED;
    if (fstat(file, &info) == 0 && info.st_size >= HEADER_BYTES)
        map = mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED) return NVML_ERROR_DRIVER_NOT_LOADED;
    header_t *found = map;
    size_t wanted = HEADER_BYTES + (size_t)found->gpu_count * (sizeof(gpu_t) + RING_LENGTH * sizeof(cap_write_t));
    if (found->magic != STATE_MAGIC || found->version != STATE_VERSION || found->gpu_bytes != sizeof(gpu_t) ||
        found->ring_length != RING_LENGTH || (size_t)info.st_size < wanted) {
        munmap(map, (size_t)info.st_size);
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    }
    state = found;
    state_bytes = (size_t)info.st_size;
    return NVML_SUCCESS;
}

static void unmap_state(void) {
    munmap(state, state_bytes);
    state = NULL;
}

PUBLIC int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&init_lock);
    int code = users == 0 ? map_state() : NVML_SUCCESS;
    if (code == NVML_SUCCESS) {
        code = (int)load(&state->error[CLASS_INIT]);
        if (code == NVML_SUCCESS)
            users++;
        else if (users == 0)
            unmap_state();
    }
    pthread_mutex_unlock(&init_lock);
    return code;
}

PUBLIC int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

PUBLIC int nvmlShutdown(void) {
    pthread_mutex_lock(&init_lock);
    int code = users == 0 ? NVML_ERROR_UNINITIALIZED : NVML_SUCCESS;
    if (users > 0 && --users == 0) unmap_state();
    pthread_mutex_unlock(&init_lock);
    return code;
}

PUBLIC const char *nvmlErrorString(int code) {
    switch (code) {
    case 0: return "The operation was successful";
    case 1: return "NVML was not first initialized";
    case 2: return "A supplied argument is invalid";
    case 3: return "The requested operation is not available on target device";
    case 4: return "The current user does not have permission for operation";
    case 6: return "A query to find an object was unsuccessful";
    case 7: return "An input argument is not large enough";
    case 9: return "NVIDIA driver is not loaded";
    case 10: return "User provided timeout passed";
    case 15: return "The GPU has fallen off the bus or has otherwise become inaccessible";
    case 16: return "The GPU requires a reset before it can be used again";
    case 18: return "RM detects a driver/library version mismatch";
    case 25: return "The provided version is invalid or unsupported";
    default: return "An internal driver error occurred";
    }
}

static int copy_text(char *to, unsigned room, const char *from) {
    size_t length = strlen(from) + 1;
    if (to == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    if (length > room) return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(to, from, length);
    return NVML_SUCCESS;
}

static int refused(int class_, const gpu_t *gpu) {
    if (users == 0) return NVML_ERROR_UNINITIALIZED;
    int code = (int)load(&state->error[class_]);
    if (code != NVML_SUCCESS || gpu == NULL) return code;
    const char *first = (const char *)gpus();
    size_t offset = (size_t)((const char *)gpu - first);
    if ((const char *)gpu < first || offset % sizeof(gpu_t) != 0 || offset / sizeof(gpu_t) >= state->gpu_count)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (load(&gpu->lost)) return NVML_ERROR_GPU_IS_LOST;
    return (int)load(&gpu->error[class_]);
}

#define REFUSE(class_, gpu) \
    do { \
        int refusal_ = refused(class_, gpu); \
        if (refusal_ != NVML_SUCCESS) return refusal_; \
    } while (0)

#define REFUSE_DEVICE(class_, gpu) \
    do { \
        if ((gpu) == NULL) return users ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_UNINITIALIZED; \
        REFUSE(class_, gpu); \
    } while (0)

#define NEED(pointer) \
    do { \
        if ((pointer) == NULL) return NVML_ERROR_INVALID_ARGUMENT; \
    } while (0)

PUBLIC int nvmlSystemGetDriverVersion(char *version, unsigned room) {
    REFUSE(CLASS_IDENTITY, NULL);
    return copy_text(version, room, state->driver_version);
}

PUBLIC int nvmlSystemGetNVMLVersion(char *version, unsigned room) {
    REFUSE(CLASS_IDENTITY, NULL);
    return copy_text(version, room, state->nvml_version);
}

/* ---- which GPUs ------------------------------------------------------------------------------------------- */

PUBLIC int nvmlDeviceGetCount_v2(unsigned *count) {
    REFUSE(CLASS_ENUMERATE, NULL);
    NEED(count);
    *count = (unsigned)state->gpu_count;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **gpu) {
    REFUSE(CLASS_ENUMERATE, NULL);
    NEED(gpu);
    if (index >= state->gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    REFUSE(CLASS_ENUMERATE, gpus() + index);
    *gpu = gpus() + index;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetHandleByUUID(const char *uuid, gpu_t **gpu) {
    REFUSE(CLASS_ENUMERATE, NULL);
    NEED(uuid);
    NEED(gpu);
    for (uint64_t i = 0; i < state->gpu_count; i++)
        if (strcmp(gpus()[i].uuid, uuid) == 0) return nvmlDeviceGetHandleByIndex_v2((unsigned)i, gpu);
    return NVML_ERROR_NOT_FOUND;
}

PUBLIC int nvmlDeviceGetIndex(const gpu_t *gpu, unsigned *index) {
    REFUSE_DEVICE(CLASS_IDENTITY, gpu);
    NEED(index);
    *index = (unsigned)(gpu - gpus());
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetName(const gpu_t *gpu, char *name, unsigned room) {
    REFUSE_DEVICE(CLASS_IDENTITY, gpu);
    return copy_text(name, room, gpu->name);
}

PUBLIC int nvmlDeviceGetUUID(const gpu_t *gpu, char *uuid, unsigned room) {
    REFUSE_DEVICE(CLASS_IDENTITY, gpu);
    return copy_text(uuid, room, gpu->uuid);
}

PUBLIC int nvmlDeviceGetSerial(const gpu_t *gpu, char *serial, unsigned room) {
    REFUSE_DEVICE(CLASS_IDENTITY, gpu);
    return copy_text(serial, room, gpu->serial);
}

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_info_t;

PUBLIC int nvmlDeviceGetPciInfo_v3(const gpu_t *gpu, pci_info_t *info) {
    REFUSE_DEVICE(CLASS_IDENTITY, gpu);
    NEED(info);
    memset(info, 0, sizeof *info);
    if (sscanf(gpu->pci_bus_id, "%x:%x:%x", &info->domain, &info->bus, &info->device) != 3)
        return NVML_ERROR_NOT_SUPPORTED;
    snprintf(info->bus_id, sizeof info->bus_id, "%s", gpu->pci_bus_id);
    snprintf(info->bus_id_legacy, sizeof info->bus_id_legacy, "%04X:%02X:%02X.0", info->domain & 0xFFFFu,
             info->bus & 0xFFu, info->device & 0xFFu);
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetPersistenceMode(const gpu_t *gpu, unsigned *mode) {
    REFUSE_DEVICE(CLASS_IDENTITY, gpu);
    NEED(mode);
    *mode = 1;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetMigMode(const gpu_t *gpu, unsigned *current, unsigned *pending) {
    REFUSE_DEVICE(CLASS_IDENTITY, gpu);
    NEED(current);
    NEED(pending);
    *current = *pending = 0;
    return NVML_SUCCESS;
}

/* ---- what they do ----------------------------------------------------------------------------------------- */

static int read_word(int class_, const gpu_t *gpu, size_t offset, unsigned *value) {
    REFUSE_DEVICE(class_, gpu);
    NEED(value);
    *value = (unsigned)load((const uint64_t *)((const char *)gpu + offset));
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetPowerUsage(const gpu_t *gpu, unsigned *mw) {
    return read_word(CLASS_TELEMETRY, gpu, offsetof(gpu_t, power_average_mw), mw);
}

PUBLIC int nvmlDeviceGetTotalEnergyConsumption(const gpu_t *gpu, unsigned long long *mj) {
    REFUSE_DEVICE(CLASS_TELEMETRY, gpu);
    NEED(mj);
    *mj = load(&gpu->energy_mj);
    return NVML_SUCCESS;
}

typedef struct {
    unsigned gpu, memory;
} utilization_t;

PUBLIC int nvmlDeviceGetUtilizationRates(const gpu_t *gpu, utilization_t *rates) {
    REFUSE_DEVICE(CLASS_TELEMETRY, gpu);
    NEED(rates);
    rates->gpu = (unsigned)load(&gpu->utilization_pct);
    rates->memory = (unsigned)(100 * load(&gpu->memory_used_bytes) / load(&gpu->memory_total_bytes));
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetTemperature(const gpu_t *gpu, unsigned sensor, unsigned *celsius) {
    if (sensor != 0) return NVML_ERROR_INVALID_ARGUMENT;
    return read_word(CLASS_TELEMETRY, gpu, offsetof(gpu_t, temperature_c), celsius);
}

typedef struct {
    unsigned version, sensor;
    int celsius;
} temperature_t;

PUBLIC int nvmlDeviceGetTemperatureV(const gpu_t *gpu, temperature_t *temperature) {
    NEED(temperature);
    if (temperature->version != (sizeof *temperature | (1u << 24))) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    unsigned celsius = 0;
    int code = nvmlDeviceGetTemperature(gpu, temperature->sensor, &celsius);
    temperature->celsius = (int)celsius;
    return code;
}

PUBLIC int nvmlDeviceGetClockInfo(const gpu_t *gpu, unsigned type, unsigned *mhz) {
    if (type > 1) return NVML_ERROR_NOT_SUPPORTED;
    return read_word(CLASS_TELEMETRY, gpu, offsetof(gpu_t, clock_mhz), mhz);
}

PUBLIC int nvmlDeviceGetMaxClockInfo(const gpu_t *gpu, unsigned type, unsigned *mhz) {
    if (type > 1) return NVML_ERROR_NOT_SUPPORTED;
    return read_word(CLASS_IDENTITY, gpu, offsetof(gpu_t, max_clock_mhz), mhz);
}

PUBLIC int nvmlDeviceGetCurrentClocksEventReasons(const gpu_t *gpu, unsigned long long *reasons) {
    REFUSE_DEVICE(CLASS_TELEMETRY, gpu);
    NEED(reasons);
    *reasons = load(&gpu->event_reasons);
    return NVML_SUCCESS;
}

typedef struct {
    unsigned long long total, free, used;
} memory_t;

PUBLIC int nvmlDeviceGetMemoryInfo(const gpu_t *gpu, memory_t *memory) {
    REFUSE_DEVICE(CLASS_TELEMETRY, gpu);
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
    REFUSE_DEVICE(CLASS_TELEMETRY, gpu);
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
    return read_word(CLASS_LIMIT_READ, gpu, offsetof(gpu_t, cap_mw), mw);
}

PUBLIC int nvmlDeviceGetPowerManagementDefaultLimit(const gpu_t *gpu, unsigned *mw) {
    return read_word(CLASS_LIMIT_READ, gpu, offsetof(gpu_t, default_limit_mw), mw);
}

PUBLIC int nvmlDeviceGetPowerManagementLimitConstraints(const gpu_t *gpu, unsigned *min_mw, unsigned *max_mw) {
    int code = read_word(CLASS_LIMIT_READ, gpu, offsetof(gpu_t, min_limit_mw), min_mw);
    return code ? code : read_word(CLASS_LIMIT_READ, gpu, offsetof(gpu_t, max_limit_mw), max_mw);
}

static uint64_t enforced_mw(const gpu_t *gpu) {
    uint64_t cap = load(&gpu->cap_mw), out_of_band = load(&gpu->out_of_band_mw);
    return out_of_band != 0 && out_of_band < cap ? out_of_band : cap;
}

PUBLIC int nvmlDeviceGetEnforcedPowerLimit(const gpu_t *gpu, unsigned *mw) {
    REFUSE_DEVICE(CLASS_LIMIT_READ, gpu);
    NEED(mw);
    *mw = (unsigned)enforced_mw(gpu);
    return NVML_SUCCESS;
}

static void record_cap(gpu_t *gpu, uint64_t mw) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t number = __atomic_fetch_add(&gpu->cap_writes, 1, __ATOMIC_ACQ_REL);
    cap_write_t *slot = ring_of(gpu) + number % RING_LENGTH;
    store(&slot->sequence, 0);
    store(&slot->at_ns, (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec);
    store(&slot->cap_mw, mw);
    store(&slot->sequence, number + 1);
}

PUBLIC int nvmlDeviceSetPowerManagementLimit(gpu_t *gpu, unsigned mw) {
    REFUSE_DEVICE(CLASS_LIMIT_WRITE, gpu);
    if (mw < load(&gpu->min_limit_mw) || mw > load(&gpu->max_limit_mw)) return NVML_ERROR_INVALID_ARGUMENT;
    store(&gpu->cap_mw, mw);
    record_cap(gpu, mw);
    return NVML_SUCCESS;
}

typedef struct {
    unsigned version, scope, mw;
} power_value_t;

PUBLIC int nvmlDeviceSetPowerManagementLimit_v2(gpu_t *gpu, const power_value_t *value) {
    NEED(value);
    if (value->version != (sizeof *value | (2u << 24))) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (value->scope != 0) return NVML_ERROR_NOT_SUPPORTED;
    return nvmlDeviceSetPowerManagementLimit(gpu, value->mw);
}

PUBLIC int nvmlDeviceSetGpuLockedClocks(gpu_t *gpu, unsigned min_mhz, unsigned max_mhz) {
    REFUSE_DEVICE(CLASS_CLOCK_WRITE, gpu);
    if (min_mhz > max_mhz || max_mhz < load(&gpu->min_clock_mhz) || min_mhz > load(&gpu->max_clock_mhz))
        return NVML_ERROR_INVALID_ARGUMENT;
    store(&gpu->lock_min_mhz, min_mhz);
    store(&gpu->lock_max_mhz, max_mhz);
    __atomic_fetch_add(&gpu->clock_writes, 1, __ATOMIC_ACQ_REL);
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceResetGpuLockedClocks(gpu_t *gpu) {
    REFUSE_DEVICE(CLASS_CLOCK_WRITE, gpu);
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
    REFUSE_DEVICE(CLASS_TELEMETRY, gpu);
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

/* ---- the layout, for state.py's test ---------------------------------------------------------------------- */

#define WORD(field) written += layout_line(text + written, room - written, OWNER, #field, offsetof(TYPE, field), sizeof(((TYPE *)0)->field));
#define WORDS(field, n) WORD(field)
#define TEXT(field, n) WORD(field)

static size_t layout_line(char *text, size_t room, const char *owner, const char *field, size_t offset, size_t bytes) {
    int length = snprintf(text, room, "%s.%s %zu %zu\n", owner, field, offset, bytes);
    return length < 0 || (size_t)length >= room ? 0 : (size_t)length;
}

/* Lines of "struct.field offset bytes", then the sizes; returns the length, less than room. */
PUBLIC size_t negawatt_nvml_layout(char *text, size_t room) {
    size_t written = 0;
#define OWNER "header"
#define TYPE header_t
    HEADER_FIELDS
#undef OWNER
#undef TYPE
#define OWNER "gpu"
#define TYPE gpu_t
    GPU_FIELDS
#undef OWNER
#undef TYPE
#define OWNER "write"
#define TYPE cap_write_t
    WRITE_FIELDS
#undef OWNER
#undef TYPE
    written += layout_line(text + written, room - written, "size", "header", HEADER_BYTES, sizeof(header_t));
    written += layout_line(text + written, room - written, "size", "gpu", sizeof(gpu_t), RING_LENGTH);
    written += layout_line(text + written, room - written, "size", "write", sizeof(cap_write_t), CLASS_COUNT);
    return written;
}
