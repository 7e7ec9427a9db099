// Functions that kernels call on the CPU, in the simulator and on a GPU: OV_HD before the declaration; OV_LOOKUP before
// an array of constants in one, which a GPU would copy to every thread's stack if it were not static.
#pragma once

#ifdef __CUDACC__
#define OV_HD __host__ __device__
#define OV_HD_INLINE __host__ __device__ __forceinline__
#define OV_LOOKUP static constexpr
#else
#define OV_HD
#define OV_HD_INLINE inline __attribute__((always_inline))
#define OV_LOOKUP constexpr
#endif
