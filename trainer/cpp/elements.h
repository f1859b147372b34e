// Elements of CPU tensors in loops that the compiler turns into vector instructions.
#pragma once

#include <cstdint>
#include <cstring>

// Compiled for each generation of vector registers, chosen when the program is loaded.
#if defined(__x86_64__)
#define DTRAIN_VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DTRAIN_VECTORIZED
#endif
#define DTRAIN_INLINE inline __attribute__((always_inline))

// A bfloat16 is the upper half of a float; rounded to the nearest, halves to even, as libtorch does.
DTRAIN_INLINE float load(const uint16_t *from) {
  const uint32_t bits = static_cast<uint32_t>(*from) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
DTRAIN_INLINE void store(uint16_t *to, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  *to = static_cast<uint16_t>(value != value ? 0x7FC0 : rounded);
}
DTRAIN_INLINE float load(const float *from) { return *from; }
DTRAIN_INLINE void store(float *to, float value) { *to = value; }
DTRAIN_INLINE double load(const double *from) { return *from; }
DTRAIN_INLINE void store(double *to, double value) { *to = value; }
