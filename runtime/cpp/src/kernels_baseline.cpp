#define ZOO_ISA baseline
#define ZOO_ISA_NAME "baseline"
#define ZOO_VECTOR_BYTES 16
#include "kernels_impl.hpp"
