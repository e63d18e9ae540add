// Micro-benchmarks of the kernels, for every instruction set of this CPU; names read operation/isa/sizes.
// Bytes per second are bytes of codes, of all threads together.
#include <benchmark/benchmark.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels-neon/kernels.h"
#include "schema/packing.h"

namespace svq::kernels {
namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<uint8_t, Free>;

Bytes random_bytes(size_t n) {
  Bytes p(static_cast<uint8_t*>(std::aligned_alloc(64, (n + 63) / 64 * 64)));
  uint64_t x = 88172645463325252;  // xorshift64
  for (size_t i = 0; i + 8 <= (n + 63) / 64 * 64; i += 8) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    std::memcpy(p.get() + i, &x, 8);
  }
  return p;
}

struct Matrix {
  Matrix(uint32_t rows, uint32_t columns, uint32_t bits)
      : size(format::packed_size(rows, columns, bits)), bytes(random_bytes(size)) {
    const format::PlaneList planes = format::planes_of(bits);
    packed.rows = rows;
    packed.columns = columns;
    packed.n_planes = planes.count;
    const uint8_t* at = bytes.get();
    for (uint32_t i = 0; i < planes.count; ++i) {
      packed.plane[i] = at;
      packed.plane_bits[i] = static_cast<uint8_t>(planes.plane[i].bits);
      packed.plane_weight[i] = static_cast<int32_t>(planes.plane[i].weight);
      at += format::plane_size(rows, columns, planes.plane[i].bits);
    }
  }
  size_t size;
  Bytes bytes;
  Packed packed;
};

// What the cores can read at all, as a baseline: sums 64-bit words, prefetching 8 KiB ahead.
void read_memory(benchmark::State& state) {
  static const size_t size = size_t{512} << 20;
  static const Bytes bytes = random_bytes(size);
  const size_t part = size / static_cast<size_t>(state.threads()),
               begin = part * static_cast<size_t>(state.thread_index());
  const uint64_t* words = reinterpret_cast<const uint64_t*>(bytes.get() + begin);
  for (auto _ : state) {
    uint64_t sum[16] = {};
    for (size_t i = 0; i < part / 8; i += 16) {
      __builtin_prefetch(words + i + 1024);
      __builtin_prefetch(words + i + 1032);
      for (int j = 0; j < 16; ++j) sum[j] += words[i + j];
    }
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * part));
}

#if defined(__x86_64__)
// The most that the instructions of gemm/ can do: nothing but products in registers.
__attribute__((target("avx512f,avx512vnni"))) void peak_dpbusd(benchmark::State& state) {
  constexpr int kSums = 16, kRounds = 1000;
  const __m512i codes = _mm512_set1_epi8(3), z = _mm512_set1_epi8(-7);
  for (auto _ : state) {
    // In assembly: GCC keeps an array of sums in memory once anything is told about its elements.
#define SVQ_SUM(n) "vpdpbusd %1, %0, %%zmm" #n "\n\t"
    for (int i = 0; i < kRounds; ++i) {
      asm volatile(SVQ_SUM(16) SVQ_SUM(17) SVQ_SUM(18) SVQ_SUM(19) SVQ_SUM(20) SVQ_SUM(21) SVQ_SUM(22) SVQ_SUM(23)
                       SVQ_SUM(24) SVQ_SUM(25) SVQ_SUM(26) SVQ_SUM(27) SVQ_SUM(28) SVQ_SUM(29) SVQ_SUM(30) SVQ_SUM(31)
                   :
                   : "v"(codes), "v"(z)
                   : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",
                     "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
    }
#undef SVQ_SUM
  }
  state.counters["MAC/s"] = benchmark::Counter(64.0 * kSums * kRounds, benchmark::Counter::kIsIterationInvariantRate);
}
#endif

// Threads share a matrix by row blocks, as the runtime does.
void gemv(benchmark::State& state, const Table* t, const Matrix* m) {
  const uint32_t blocks = m->packed.rows / 16;
  const uint32_t begin = blocks * state.thread_index() / state.threads();
  const uint32_t end = blocks * (state.thread_index() + 1) / state.threads();
  const Bytes z = random_bytes(m->packed.columns);
  std::vector<int32_t> acc((end - begin) * 16);
  for (auto _ : state) {
    t->gemv(m->packed, reinterpret_cast<const int8_t*>(z.get()), begin, end, acc.data());
    benchmark::DoNotOptimize(acc.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * m->size * (end - begin) / blocks));
}

void gemm(benchmark::State& state, const Table* t, uint32_t rows, uint32_t columns, uint32_t tokens) {
  const Matrix m(rows, columns, 2);
  const Bytes z = random_bytes(size_t{columns} * tokens), panel = random_bytes(t->gemm_panel(columns, tokens));
  t->gemm_pack(reinterpret_cast<const int8_t*>(z.get()), columns, tokens, columns, 0, columns, panel.get());
  std::vector<int32_t> acc(size_t{rows} * tokens);
  for (auto _ : state) {
    t->gemm(m.packed, panel.get(), tokens, 0, rows / 16, acc.data(), rows);
    benchmark::DoNotOptimize(acc.data());
  }
  state.counters["MAC/s"] =
      benchmark::Counter(static_cast<double>(rows) * columns * tokens, benchmark::Counter::kIsIterationInvariantRate);
}

void rotate(benchmark::State& state, const Table* t, uint32_t block, uint32_t factor) {
  std::vector<float> mix(factor * factor), x(block * factor, 1.0f), scratch(block * factor);
  make_mix(factor, mix.data());
  const Rotation r = {factor > 1 ? 2u : 1u, block, factor, mix.data()};
  bool inverse = false;
  for (auto _ : state) {
    t->rotate(x.data(), r, inverse, scratch.data());
    inverse = !inverse;
    benchmark::DoNotOptimize(x.data());
  }
}

void affine_quantize(benchmark::State& state, const Table* t, uint32_t n) {
  std::vector<float> u(n), zf(n), a(16, 0.5f), b(4, -0.5f);
  for (uint32_t i = 0; i < n; ++i) u[i] = static_cast<float>(i % 17) - 8;
  std::vector<int8_t> z(format::padded_columns(n));
  Affine affine;
  affine.a = a.data();
  affine.b = b.data();
  Quantized q;
  q.z = z.data();
  for (auto _ : state) {
    t->affine_quantize(u.data(), affine, n, zf.data(), &q);
    benchmark::DoNotOptimize(z.data());
  }
}

void matmul_f16(benchmark::State& state, const Table* t, uint32_t rows, uint32_t columns, uint32_t tokens) {
  const std::vector<uint16_t> w(size_t{rows} * columns, f32_to_f16(0.25f));
  const std::vector<float> x(size_t{tokens} * columns, 1.0f);
  std::vector<float> y(size_t{tokens} * rows);
  for (auto _ : state) {
    t->matmul_f16(w.data(), columns, 0, rows, x.data(), columns, tokens, y.data(), rows);
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["MAC/s"] =
      benchmark::Counter(static_cast<double>(rows) * columns * tokens, benchmark::Counter::kIsIterationInvariantRate);
}

void attend(benchmark::State& state, const Table* t, uint32_t n, uint32_t head_dim, uint32_t positions) {
  const std::vector<uint16_t> k(size_t{positions} * head_dim, f32_to_f16(0.25f)), v = k;
  const std::vector<float> q(head_dim, 0.5f);
  std::vector<float> out(size_t{n} * head_dim);
  std::vector<AttendQuery> queries;
  for (uint32_t i = 0; i < n; ++i) queries.push_back({q.data(), &out[i * head_dim], 0, positions - 1});
  for (auto _ : state) {
    t->attend_f16(queries.data(), n, k.data(), v.data(), head_dim, head_dim, 0.125f);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * positions * head_dim * 4));
}

void register_all() {
  benchmark::RegisterBenchmark("read_memory", read_memory)->ThreadRange(1, 2)->UseRealTime();
  Isa isas[kIsas];
#if defined(__x86_64__)
  if (table(Isa::kAvx512)) benchmark::RegisterBenchmark("peak/dpbusd", peak_dpbusd);
#endif
  const size_t n = available(isas, kIsas);
  for (size_t i = 0; i < n; ++i) {
    const Table* t = table(isas[i]);
    const std::string isa = std::string("/") + t->name + "/";
    const auto add = [&](const std::string& name, auto body) { benchmark::RegisterBenchmark(name.c_str(), body); };
    if (isas[i] != Isa::kScalar) {
      // 512 MB of codes: far out of cache. 1536 × 1536: in L2.
      static const Matrix large(size_t{512} << 20 >> 9, 2048, 2), small(1536, 1536, 2), three(1536, 1536, 3);
      benchmark::RegisterBenchmark(("gemv" + isa + "512MB").c_str(), gemv, t, &large)->ThreadRange(1, 2)->UseRealTime();
      benchmark::RegisterBenchmark(("gemv" + isa + "1536x1536").c_str(), gemv, t, &small);
      benchmark::RegisterBenchmark(("gemv" + isa + "1536x1536x3bit").c_str(), gemv, t, &three);
      for (uint32_t tokens : {2u, 3u, 4u, 8u, 64u, 256u}) {
        add("gemm" + isa + "1536x1536x" + std::to_string(tokens),
            [=](benchmark::State& s) { gemm(s, t, 1536, 1536, tokens); });
      }
      add("gemm" + isa + "1536x8960x64", [=](benchmark::State& s) { gemm(s, t, 1536, 8960, 64); });
      for (uint32_t tokens : {1u, 64u}) {
        add("matmul_f16" + isa + "1536x576x" + std::to_string(tokens),
            [=](benchmark::State& s) { matmul_f16(s, t, 1536, 576, tokens); });
      }
    }
    add("rotate" + isa + "64x9", [=](benchmark::State& s) { rotate(s, t, 64, 9); });
    add("rotate" + isa + "512x3", [=](benchmark::State& s) { rotate(s, t, 512, 3); });
    add("rotate" + isa + "4096x1", [=](benchmark::State& s) { rotate(s, t, 4096, 1); });
    add("rotate" + isa + "256x35", [=](benchmark::State& s) { rotate(s, t, 256, 35); });
    for (uint32_t size : {576u, 8960u}) {
      add("affine_quantize" + isa + std::to_string(size), [=](benchmark::State& s) { affine_quantize(s, t, size); });
    }
    for (uint32_t queries : {1u, 2u, 3u, 4u, 6u}) {
      for (uint32_t positions : {1024u, 1u << 19}) {  // in L2, far out of cache
        if (isas[i] == Isa::kScalar && positions > 1024) continue;
        add("attend_f16" + isa + std::to_string(queries) + "x64x" + std::to_string(positions),
            [=](benchmark::State& s) { attend(s, t, queries, 64, positions); });
      }
    }
  }
}

}  // namespace
}  // namespace svq::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  svq::kernels::register_all();
  benchmark::RunSpecifiedBenchmarks();
}
