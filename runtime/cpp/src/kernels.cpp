#include "kernels.hpp"

#include <cstring>

namespace zoo {

#define ZOO_DECLARE(isa)                         \
    namespace isa {                              \
    extern const Kernels<float> float_kernels;   \
    extern const Kernels<double> double_kernels; \
    }
ZOO_DECLARE(baseline)
#ifdef ZOO_X86_KERNELS
ZOO_DECLARE(avx2)
ZOO_DECLARE(avx512)
#endif

namespace {

struct Set {
    const char* name;
    const Kernels<float>* single;
    const Kernels<double>* dual;
    bool usable;
};

const Set* find_set(const char* name) {
    static const Set sets[] = {
#ifdef ZOO_X86_KERNELS
        {"avx512", &avx512::float_kernels, &avx512::double_kernels,
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")},
        {"avx2", &avx2::float_kernels, &avx2::double_kernels,
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
        {"baseline", &baseline::float_kernels, &baseline::double_kernels, true},
    };
    for (const Set& set : sets) {
        if (set.usable && (!name || !std::strcmp(name, set.name))) return &set;
    }
    return nullptr;
}

}  // namespace

template <>
const Kernels<float>* kernels<float>(const char* name) {
    const Set* set = find_set(name);
    return set ? set->single : nullptr;
}

template <>
const Kernels<double>* kernels<double>(const char* name) {
    const Set* set = find_set(name);
    return set ? set->dual : nullptr;
}

}  // namespace zoo
