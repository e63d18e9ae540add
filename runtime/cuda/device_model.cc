#include "runtime/cuda/device_model.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_map.h"

namespace svq::rt {
namespace {

constexpr uint64_t kUploadPiece = 8 << 20;  // bytes read at a time
constexpr uint64_t kReserve = 64 << 20;     // left to others when memory is checked

// What the kernel would give without swapping; 0 where unknown. On a device that shares memory with the CPU, page cache
// counts as free here, but not for the driver.
uint64_t available_memory() {
  std::FILE* f = std::fopen("/proc/meminfo", "re");
  if (f == nullptr) return 0;
  char line[256];
  unsigned long long kilobytes = 0;
  while (std::fgets(line, sizeof line, f) != nullptr) {
    if (std::sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) break;
  }
  std::fclose(f);
  return uint64_t{kilobytes} * 1024;
}

// Reads a range of the model's file, and drops it from the page cache behind itself.
class Reader {
 public:
  explicit Reader(const ModelFile& file) : file_(file) {
    if (file.data_offset() == 0) return;
    fd_ = open(file.name().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) fail(SVQ_ERROR_IO, file.name(), ": cannot be opened: ", std::strerror(errno));
    uint8_t header[64];
    if (pread(fd_, header, sizeof header, 0) != static_cast<ssize_t>(sizeof header) ||
        std::memcmp(header, file.header(), sizeof header) != 0) {
      close(fd_);
      fail(SVQ_ERROR_IO, file.name(), ": has been replaced while it was loaded");
    }
  }
  ~Reader() {
    if (fd_ >= 0) close(fd_);
  }
  Reader(const Reader&) = delete;

  void read(uint64_t at, uint64_t bytes, uint8_t* to) const {
    if (fd_ < 0) {
      std::memcpy(to, file_.data().data() + at, bytes);
      return;
    }
    const uint64_t from = file_.data_offset() + at;
    read_at(fd_, file_.name(), from, to, bytes);
    posix_fadvise(fd_, static_cast<off_t>(from), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
  }

 private:
  const ModelFile& file_;
  int fd_ = -1;
};

template <class Visit>
void for_each_rotation(const Weights& w, const Visit& visit) {
  for (const InputTransform& t : w.input_transforms) visit(t.rotation);
  visit(w.embedding.output_rotation);
  visit(w.head.output_rotation);
  for (const Block& b : w.blocks) {
    for (const Linear* l : {&b.q, &b.k, &b.v, &b.o, &b.gate, &b.up, &b.down}) visit(l->output_rotation);
  }
}

}  // namespace

void check_device(const cuda::Device& device, const char* error, svq_status status) {
  if (error != nullptr) fail(status, device.info().name, ": ", error);
}

DeviceMemory::DeviceMemory(std::shared_ptr<cuda::Device> device, uint64_t bytes, cuda::Memory kind)
    : device_(std::move(device)), kind_(kind) {
  void *out = nullptr, *host = nullptr;
  check_device(*device_, device_->allocate(std::max<uint64_t>(bytes, 1), kind, &out, &host), SVQ_ERROR_OUT_OF_MEMORY);
  data_ = static_cast<uint8_t*>(out);
  host_ = static_cast<uint8_t*>(host);
}
DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(kind_, other.kind_);
  std::swap(data_, other.data_);
  std::swap(host_, other.host_);
  return *this;
}
DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) device_->release(data_, kind_);
}

struct DeviceModel::Constants {
  struct Mix {
    const float* host;
    uint32_t factor;
    uint64_t at;
  };
  std::vector<uint64_t> affine;
  std::vector<Mix> mixes;
  uint64_t floats = 0;

  uint64_t take(uint64_t n) { return std::exchange(floats, floats + (n + 15) / 16 * 16); }
};

DeviceModel::Constants DeviceModel::lay_out(const Weights& weights) {
  Constants c;
  for (const kernels::Affine& a : weights.affine_maps)
    c.affine.push_back(c.take(uint64_t{a.n_maps} * a.dim * (a.dim + 1)));
  for_each_rotation(weights, [&](const kernels::Rotation& r) {
    if (r.kind != 2 || std::any_of(c.mixes.begin(), c.mixes.end(), [&](const auto& m) { return m.host == r.mix; }))
      return;
    c.mixes.push_back({r.mix, r.factor, c.take(2 * uint64_t{r.factor} * cuda::mix_stride(r.factor))});
  });
  return c;
}

uint64_t DeviceModel::bytes(const ModelFile& file, const Weights& weights) {
  return file.data().size() + lay_out(weights).floats * sizeof(float);
}

DeviceModel::DeviceModel(std::shared_ptr<cuda::Device> device, const ModelFile& file, const Weights& weights,
                         bool mapped)
    : device_(std::move(device)), host_data_(file.data().data()) {
  const Constants c = lay_out(weights);
  uint64_t needed = bytes(file, weights);
  if (mapped) {
    const void* seen = nullptr;
    if (const char* error = device_->register_host(host_data_, file.data().size(), &seen)) {
      log(SVQ_LOG_WARNING,
          cat(file.name(), ": copied to ", device_->info().name, ", as it cannot be read in place: ", error));
    } else {
      registered_ = std::shared_ptr<const void>(host_data_, [d = device_](const void* p) { d->unregister_host(p); });
      base_ = static_cast<const uint8_t*>(seen);
      needed -= file.data().size();
    }
  }
  uint64_t free = 0;
  check_device(*device_, device_->free_memory(&free));
  if (device_->info().integrated) free = std::max(free, std::min(available_memory(), device_->info().total_memory));
  if (free < kReserve || needed > free - kReserve) {
    fail(SVQ_ERROR_OUT_OF_MEMORY, file.name(), ": the weights take ", needed, " bytes, but ", device_->info().name,
         " has ", free, " free, of which ", kReserve, " are left alone");
  }
  if (registered_ == nullptr) {
    data_ = DeviceMemory(device_, file.data().size(), cuda::Memory::kWeights);
    base_ = data_.data();
    read(file);
  }

  std::vector<float> values(c.floats, 0.0f);
  constants_ = DeviceMemory(device_, c.floats * sizeof(float), cuda::Memory::kDevice);
  const auto* base = reinterpret_cast<const float*>(constants_.data());
  for (size_t i = 0; i < weights.affine_maps.size(); ++i) {
    const kernels::Affine& a = weights.affine_maps[i];
    const uint64_t n_a = uint64_t{a.n_maps} * a.dim * a.dim, n_b = uint64_t{a.n_maps} * a.dim, at = c.affine[i];
    std::copy_n(a.a, n_a, values.begin() + static_cast<ptrdiff_t>(at));
    std::copy_n(a.b, n_b, values.begin() + static_cast<ptrdiff_t>(at + n_a));
    affine_.push_back({a.dim, a.columns_per_map, base + at, base + at + n_a});
  }
  for (const Constants::Mix& m : c.mixes) {
    const uint32_t r = m.factor, stride = cuda::mix_stride(r);
    const uint64_t inverse = m.at + uint64_t{r} * stride;
    for (uint32_t i = 0; i < r; ++i) {
      for (uint32_t j = 0; j < r; ++j) {
        values[m.at + uint64_t{j} * stride + i] = m.host[uint64_t{i} * r + j];
        values[inverse + uint64_t{j} * stride + i] = m.host[uint64_t{j} * r + i];
      }
    }
    mixes_[m.host] = {2, 0, r, base + m.at, base + inverse};
  }
  cuda::Stream stream = nullptr;
  check_device(*device_, device_->create_stream(0, &stream));
  const char* error = device_->copy(constants_.data(), values.data(), c.floats * sizeof(float), stream);
  if (error == nullptr) error = device_->synchronize(stream);
  device_->destroy_stream(stream);
  check_device(*device_, error);
  log(SVQ_LOG_INFO, cat(file.name(), ": ", needed, " bytes on ", device_->info().name));
}

void DeviceModel::read(const ModelFile& file) {
  const Reader reader(file);
  const uint64_t size = file.data().size();
  if (data_.host() != nullptr) {
    for (uint64_t at = 0; at < size; at += kUploadPiece)
      reader.read(at, std::min(kUploadPiece, size - at), data_.host() + at);
    check_device(*device_, device_->finish_weights(data_.data()));
    return;
  }
  // Two pinned pieces in turn: one is read while the other is on its way. Each has its own stream to wait for.
  DeviceMemory piece[2];
  cuda::Stream stream[2] = {};
  const char* error = nullptr;
  try {
    for (int i = 0; i < 2; ++i) {
      piece[i] = DeviceMemory(device_, std::min(kUploadPiece, size), cuda::Memory::kHost);
      check_device(*device_, device_->create_stream(0, &stream[i]));
    }
    int turn = 0;
    for (uint64_t at = 0; at < size && error == nullptr; at += kUploadPiece, turn ^= 1) {
      const uint64_t n = std::min(kUploadPiece, size - at);
      error = device_->synchronize(stream[turn]);
      if (error != nullptr) break;
      reader.read(at, n, piece[turn].host());
      error = device_->copy(data_.data() + at, piece[turn].data(), n, stream[turn]);
    }
    for (const cuda::Stream s : stream) {
      if (error == nullptr) error = device_->synchronize(s);
    }
  } catch (...) {
    for (const cuda::Stream s : stream) {
      if (s == nullptr) continue;
      device_->synchronize(s);
      device_->destroy_stream(s);
    }
    throw;
  }
  for (const cuda::Stream s : stream) device_->destroy_stream(s);
  check_device(*device_, error);
}

cuda::Rotation DeviceModel::rotation(const kernels::Rotation& r) const {
  cuda::Rotation out;
  out.kind = r.kind;
  if (r.kind == 0) return out;
  if (r.kind == 2) out = mixes_.at(r.mix);
  out.block = r.block;
  out.factor = r.factor;
  return out;
}

cuda::Packed DeviceModel::packed(const kernels::Packed& p) const {
  cuda::Packed out;
  out.rows = p.rows;
  out.columns = p.columns;
  out.n_planes = p.n_planes;
  for (uint32_t i = 0; i < p.n_planes; ++i) {
    out.plane[i] = at(p.plane[i]);
    out.plane_bits[i] = p.plane_bits[i];
  }
  return out;
}

}  // namespace svq::rt
