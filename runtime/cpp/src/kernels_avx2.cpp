#define ZOO_ISA avx2
#define ZOO_ISA_NAME "avx2"
#define ZOO_VECTOR_BYTES 32
#include "kernels_impl.hpp"
