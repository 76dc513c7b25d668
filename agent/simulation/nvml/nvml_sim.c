/*
 * A libnvidia-ml.so.1 whose GPUs live in one shared mapped file.
 *
 * It answers the NVML calls that a site agent makes through unmodified pynvml. The plant process creates the file
 * named by NEGAWATT_NVML_STATE and is the only writer of power, energy and temperatures; this library is the only
 * writer of caps and clock locks. So caps outlive whoever set them, as they do in a driver, and are lost when the
 * driver is loaded anew: then every call answers Uninitialized until NVML is initialised again. A cap write fills a
 * slot of its own before it publishes the slot's number: readers never wait and never see half a value.
 *
 * Reference: NVML API reference manual (nvml.h). The file's layout is in nvml_state.h.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "nvml_state.h"

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;
static header_t *state;
static size_t state_bytes;
static uint64_t initialised_at; /* the driver's loads when NVML was initialised */

gpu_t *nvml_gpus(void) { return (gpu_t *)((char *)state + HEADER_BYTES); }

cap_write_t *nvml_ring_of(const gpu_t *gpu) {
    cap_write_t *rings = (cap_write_t *)(nvml_gpus() + state->gpu_count);
    return rings + (size_t)(gpu - nvml_gpus()) * RING_LENGTH;
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
    initialised_at = load(&found->loads);
    state_bytes = (size_t)info.st_size;
    return NVML_SUCCESS;
}

static void unmap_state(void) {
    munmap(state, state_bytes);
    state = NULL;
}

static int is_stale(void) { return load(&state->loads) != initialised_at; }

PUBLIC int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&init_lock);
    if (users > 0 && is_stale()) {
        unmap_state();
        users = 0;
    }
    int code = users == 0 ? map_state() : NVML_SUCCESS;
    if (code == NVML_SUCCESS) {
        code = injected(&state->inject[SYMBOL_nvmlInitWithFlags]);
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
    int code = users == 0 ? NVML_ERROR_UNINITIALIZED : injected(&state->inject[SYMBOL_nvmlShutdown]);
    if (code == NVML_SUCCESS && --users == 0) unmap_state();
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
    case 5: return "NVML has already been initialized";
    case 6: return "A query to find an object was unsuccessful";
    case 7: return "An input argument is not large enough";
    case 8: return "A device's external power cables are not properly attached";
    case 9: return "NVIDIA driver is not loaded";
    case 10: return "User provided timeout passed";
    case 11: return "NVIDIA Kernel detected an interrupt issue with a GPU";
    case 12: return "NVML Shared Library couldn't be found or loaded";
    case 13: return "Local version of NVML doesn't implement this function";
    case 14: return "infoROM is corrupted";
    case 15: return "The GPU has fallen off the bus or has otherwise become inaccessible";
    case 16: return "The GPU requires a reset before it can be used again";
    case 17: return "The GPU control device has been blocked by the operating system/cgroups";
    case 18: return "RM detects a driver/library version mismatch";
    case 19: return "An operation cannot be performed because the GPU is currently in use";
    case 20: return "Insufficient memory";
    case 21: return "No data";
    case 22: return "The requested vgpu operation is not available on target device, because ECC is enabled";
    case 23: return "Ran out of critical resources, other than memory";
    case 24: return "The requested clock frequency is not supported";
    case 25: return "The provided version is invalid or unsupported";
    case 26: return "The requested functionality has been deprecated";
    case 27: return "The system is not ready for the request";
    case 28: return "No GPUs were found";
    case 29: return "Resource not in correct state to perform requested operation";
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

/* A MIG handle is the address of its UUID inside its GPU; returns which of the GPU's instances, -1 for the GPU. */
int nvml_instance_of(const gpu_t *handle, gpu_t **gpu) {
    size_t offset = (size_t)((const char *)handle - (const char *)nvml_gpus());
    size_t inside = offset % sizeof(gpu_t);
    if (gpu != NULL) *gpu = nvml_gpus() + offset / sizeof(gpu_t);
    return inside == 0 ? -1 : (int)((inside - offsetof(gpu_t, mig_uuid)) / sizeof nvml_gpus()->mig_uuid[0]);
}

static int is_handle(const gpu_t *handle) {
    const char *first = (const char *)nvml_gpus(), *end = (const char *)(nvml_gpus() + state->gpu_count);
    if ((const char *)handle < first || (const char *)handle >= end) return 0;
    size_t inside = (size_t)((const char *)handle - first) % sizeof(gpu_t);
    if (inside == 0) return 1;
    if (inside < offsetof(gpu_t, mig_uuid)) return 0;
    inside -= offsetof(gpu_t, mig_uuid);
    return inside % sizeof nvml_gpus()->mig_uuid[0] == 0 && inside < sizeof nvml_gpus()->mig_uuid;
}

static int refused_by(int symbol, const gpu_t *handle) {
    if (!is_handle(handle)) return NVML_ERROR_INVALID_ARGUMENT;
    gpu_t *gpu;
    nvml_instance_of(handle, &gpu);
    return load(&gpu->lost) ? NVML_ERROR_GPU_IS_LOST : injected(&gpu->inject[symbol]);
}

int nvml_refused(int symbol, const gpu_t *handle) {
    if (users == 0 || is_stale()) return NVML_ERROR_UNINITIALIZED;
    int code = injected(&state->inject[symbol]);
    return code != NVML_SUCCESS || handle == NULL ? code : refused_by(symbol, handle);
}

PUBLIC int nvmlSystemGetDriverVersion(char *version, unsigned room) {
    REFUSE(SYMBOL_nvmlSystemGetDriverVersion, NULL);
    return copy_text(version, room, state->driver_version);
}

PUBLIC int nvmlSystemGetNVMLVersion(char *version, unsigned room) {
    REFUSE(SYMBOL_nvmlSystemGetNVMLVersion, NULL);
    return copy_text(version, room, state->nvml_version);
}

/* ---- which GPUs ------------------------------------------------------------------------------------------- */

PUBLIC int nvmlDeviceGetCount_v2(unsigned *count) {
    REFUSE(SYMBOL_nvmlDeviceGetCount_v2, NULL);
    NEED(count);
    *count = (unsigned)state->gpu_count;
    return NVML_SUCCESS;
}

static int give_handle(int symbol, gpu_t *found, gpu_t **handle) {
    int code = refused_by(symbol, found);
    if (code == NVML_SUCCESS) *handle = found;
    return code;
}

PUBLIC int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **gpu) {
    REFUSE(SYMBOL_nvmlDeviceGetHandleByIndex_v2, NULL);
    NEED(gpu);
    if (index >= state->gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    return give_handle(SYMBOL_nvmlDeviceGetHandleByIndex_v2, nvml_gpus() + index, gpu);
}

static gpu_t *mig_handle(gpu_t *gpu, unsigned instance) { return (gpu_t *)gpu->mig_uuid[instance]; }

static int mig_exists(const gpu_t *gpu, unsigned instance) {
    return load(&gpu->mig_mode) != 0 && gpu->mig_uuid[instance][0] != '\0';
}

PUBLIC int nvmlDeviceGetHandleByUUID(const char *uuid, gpu_t **gpu) {
    REFUSE(SYMBOL_nvmlDeviceGetHandleByUUID, NULL);
    NEED(uuid);
    NEED(gpu);
    for (uint64_t i = 0; i < state->gpu_count; i++) {
        gpu_t *found = nvml_gpus() + i;
        if (strcmp(found->uuid, uuid) == 0) return give_handle(SYMBOL_nvmlDeviceGetHandleByUUID, found, gpu);
        for (unsigned k = 0; k < MIG_MAX; k++)
            if (mig_exists(found, k) && strcmp(found->mig_uuid[k], uuid) == 0)
                return give_handle(SYMBOL_nvmlDeviceGetHandleByUUID, mig_handle(found, k), gpu);
    }
    return NVML_ERROR_NOT_FOUND;
}

PUBLIC int nvmlDeviceGetIndex(const gpu_t *gpu, unsigned *index) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetIndex, gpu);
    NEED(index);
    *index = (unsigned)(gpu - nvml_gpus());
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetName(const gpu_t *gpu, char *name, unsigned room) {
    REFUSE_HANDLE(SYMBOL_nvmlDeviceGetName, gpu);
    gpu_t *whole;
    nvml_instance_of(gpu, &whole);
    return copy_text(name, room, whole->name);
}

PUBLIC int nvmlDeviceGetUUID(const gpu_t *gpu, char *uuid, unsigned room) {
    REFUSE_HANDLE(SYMBOL_nvmlDeviceGetUUID, gpu);
    gpu_t *whole;
    int instance = nvml_instance_of(gpu, &whole);
    return copy_text(uuid, room, instance < 0 ? whole->uuid : whole->mig_uuid[instance]);
}

PUBLIC int nvmlDeviceGetSerial(const gpu_t *gpu, char *serial, unsigned room) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetSerial, gpu);
    return copy_text(serial, room, gpu->serial);
}

typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_info_t;

PUBLIC int nvmlDeviceGetPciInfo_v3(const gpu_t *gpu, pci_info_t *info) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetPciInfo_v3, gpu);
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
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetPersistenceMode, gpu);
    NEED(mode);
    *mode = load(&gpu->not_persistent) == 0;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetMigMode(const gpu_t *gpu, unsigned *current, unsigned *pending) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetMigMode, gpu);
    NEED(current);
    NEED(pending);
    *current = *pending = load(&gpu->mig_mode) != 0;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetMaxMigDeviceCount(const gpu_t *gpu, unsigned *count) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetMaxMigDeviceCount, gpu);
    NEED(count);
    *count = MIG_MAX;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetMigDeviceHandleByIndex(gpu_t *gpu, unsigned index, gpu_t **instance) {
    REFUSE_DEVICE(SYMBOL_nvmlDeviceGetMigDeviceHandleByIndex, gpu);
    NEED(instance);
    if (index >= MIG_MAX) return NVML_ERROR_INVALID_ARGUMENT;
    if (!mig_exists(gpu, index)) return NVML_ERROR_NOT_FOUND;
    *instance = mig_handle(gpu, index);
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceIsMigDeviceHandle(const gpu_t *handle, unsigned *is_mig) {
    REFUSE_HANDLE(SYMBOL_nvmlDeviceIsMigDeviceHandle, handle);
    NEED(is_mig);
    *is_mig = nvml_instance_of(handle, NULL) >= 0;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(gpu_t *handle, gpu_t **gpu) {
    REFUSE_HANDLE(SYMBOL_nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle);
    NEED(gpu);
    return nvml_instance_of(handle, gpu) < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

/* Every instance is a GPU instance of its own, numbered from 1, with one compute instance 0. */
static int read_instance(int symbol, const gpu_t *handle, int is_gpu_instance, unsigned *id) {
    REFUSE_HANDLE(symbol, handle);
    NEED(id);
    int instance = nvml_instance_of(handle, NULL);
    if (instance < 0) return NVML_ERROR_NOT_SUPPORTED;
    *id = is_gpu_instance ? (unsigned)instance + 1 : 0;
    return NVML_SUCCESS;
}

PUBLIC int nvmlDeviceGetGpuInstanceId(const gpu_t *handle, unsigned *id) {
    return read_instance(SYMBOL_nvmlDeviceGetGpuInstanceId, handle, 1, id);
}

PUBLIC int nvmlDeviceGetComputeInstanceId(const gpu_t *handle, unsigned *id) {
    return read_instance(SYMBOL_nvmlDeviceGetComputeInstanceId, handle, 0, id);
}

/* ---- the layout, for state.py's test ---------------------------------------------------------------------- */

#define WORD(field) written += layout_line(text + written, room - written, OWNER, #field, offsetof(TYPE, field), sizeof(((TYPE *)0)->field));
#define WORDS(field, n) WORD(field)
#define TEXT(field, n) WORD(field)
#define TEXTS(field, count, n) WORD(field)
#define S(name) written += layout_line(text + written, room - written, "symbol", #name, SYMBOL_##name, 0);

static size_t layout_line(char *text, size_t room, const char *owner, const char *field, size_t offset, size_t bytes) {
    int length = snprintf(text, room, "%s.%s %zu %zu\n", owner, field, offset, bytes);
    return length < 0 || (size_t)length >= room ? 0 : (size_t)length;
}

/* Lines of "struct.field offset bytes", then the sizes and the symbols' numbers; returns the length, less than room. */
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
    written += layout_line(text + written, room - written, "size", "write", sizeof(cap_write_t), SYMBOL_COUNT);
    SYMBOLS(S)
    return written;
}
