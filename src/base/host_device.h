// Functions that kernels call on the CPU, in the simulator and on a GPU: OV_HD before the declaration.
#pragma once

#ifdef __CUDACC__
#define OV_HD __host__ __device__
#define OV_HD_INLINE __host__ __device__ __forceinline__
#else
#define OV_HD
#define OV_HD_INLINE inline __attribute__((always_inline))
#endif
