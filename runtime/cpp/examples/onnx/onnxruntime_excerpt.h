// The part of ONNX Runtime's C API that energies.cpp uses, for hosts without its header: the wheel on PyPI brings none.
//
// The library exports one function, OrtGetApiBase; all else are entries of a table to which new ones are only ever
// added at the end. So an entry is known by its place, and what lies between those that are used is left out by number.
// With onnxruntime_c_api.h at hand, include that instead: names and calls are the same.
#pragma once

#include <cstddef>
#include <cstdint>

struct OrtStatus;
struct OrtEnv;
struct OrtSession;
struct OrtSessionOptions;
struct OrtRunOptions;
struct OrtValue;
struct OrtMemoryInfo;
struct OrtTensorTypeAndShapeInfo;
struct OrtModelMetadata;
struct OrtAllocator;

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_ERROR = 3 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };
enum ONNXTensorElementDataType {
    ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE = 11
};

#define ORT_API_VERSION 11

struct OrtApi {
    void* from_0[2];
    const char* (*GetErrorMessage)(const OrtStatus*);  // entry 2
    OrtStatus* (*CreateEnv)(OrtLoggingLevel, const char* name, OrtEnv**);
    void* from_4[3];
    OrtStatus* (*CreateSession)(const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**);  // 7
    void* from_8[1];
    OrtStatus* (*Run)(OrtSession*, const OrtRunOptions*, const char* const* input_names, const OrtValue* const* inputs,
                      size_t n_inputs, const char* const* output_names, size_t n_outputs, OrtValue** outputs);  // 9
    OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**);  // 10
    void* from_11[13];
    OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int);  // 24
    void* from_25[5];
    OrtStatus* (*SessionGetInputCount)(const OrtSession*, size_t*);  // 30
    void* from_31[5];
    OrtStatus* (*SessionGetInputName)(const OrtSession*, size_t, OrtAllocator*, char**);  // 36
    void* from_37[12];
    OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void* data, size_t n_bytes, const int64_t* shape,
                                                 size_t n_axes, ONNXTensorElementDataType, OrtValue**);  // 49
    void* from_50[1];
    OrtStatus* (*GetTensorMutableData)(OrtValue*, void**);  // 51
    void* from_52[8];
    OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo*, ONNXTensorElementDataType*);  // 60
    void* from_61[3];
    OrtStatus* (*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo*, size_t*);     // 64
    OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**);       // 65
    void* from_66[3];
    OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**);  // 69
    void* from_70[6];
    OrtStatus* (*AllocatorFree)(OrtAllocator*, void*);  // 76
    void* from_77[1];
    OrtStatus* (*GetAllocatorWithDefaultOptions)(OrtAllocator**);  // 78
    void* from_79[13];
    void (*ReleaseEnv)(OrtEnv*);  // 92
    void (*ReleaseStatus)(OrtStatus*);
    void (*ReleaseMemoryInfo)(OrtMemoryInfo*);
    void (*ReleaseSession)(OrtSession*);
    void (*ReleaseValue)(OrtValue*);
    void* from_97[2];
    void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);  // 99
    void (*ReleaseSessionOptions)(OrtSessionOptions*);
    void* from_101[10];
    OrtStatus* (*SessionGetModelMetadata)(const OrtSession*, OrtModelMetadata**);  // 111
    void* from_112[4];
    OrtStatus* (*ModelMetadataLookupCustomMetadataMap)(const OrtModelMetadata*, OrtAllocator*, const char* key,
                                                       char** value);  // 116
    void* from_117[1];
    void (*ReleaseModelMetadata)(OrtModelMetadata*);  // 118
};

struct OrtApiBase {
    const OrtApi* (*GetApi)(uint32_t version);  // null where the library is older
    const char* (*GetVersionString)();
};
