#define ZOO_ISA avx512
#define ZOO_ISA_NAME "avx512"
#define ZOO_VECTOR_BYTES 64
#include "kernels_impl.hpp"
