// A model's weights on a GPU: the file's data section, read once into memory that the device sees, in the file's own
// layout; and what the host computes from it (affine maps and DCT matrices in f32). Immutable, shared by sessions.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "kernels-cuda/device.h"
#include "runtime/file/model_file.h"
#include "runtime/include/svqrt/svqrt.h"
#include "runtime/model/weights.h"

namespace svq::rt {

// Throws Error (INTERNAL, or OUT_OF_MEMORY where memory was asked for) when a device's function failed.
void check_device(const cuda::Device& device, const char* error, svq_status status = SVQ_ERROR_INTERNAL);

// Device memory that goes with the object.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(std::shared_ptr<cuda::Device> device, uint64_t bytes, cuda::Memory kind);
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory();
  uint8_t* data() const { return data_; }
  uint8_t* host() const { return host_; }  // null: the host cannot reach it

 private:
  std::shared_ptr<cuda::Device> device_;
  cuda::Memory kind_ = cuda::Memory::kDevice;
  uint8_t* data_ = nullptr;
  uint8_t* host_ = nullptr;
};

class DeviceModel {
 public:
  // Throws Error: OUT_OF_MEMORY before anything is read, if the device has not enough; IO.
  // mapped: the device reads the file's mapping in place, where it can; the file must then outlive the object.
  DeviceModel(std::shared_ptr<cuda::Device> device, const ModelFile& file, const Weights& weights, bool mapped = false);

  // Device memory that a model takes.
  static uint64_t bytes(const ModelFile& file, const Weights& weights);

  cuda::Device& device() const { return *device_; }
  const std::shared_ptr<cuda::Device>& shared_device() const { return device_; }

  // The device's view of what `weights` points at.
  template <class T>
  const T* at(const T* host) const {
    return host == nullptr ? nullptr
                           : reinterpret_cast<const T*>(base_ + (reinterpret_cast<const uint8_t*>(host) - host_data_));
  }
  cuda::Rotation rotation(const kernels::Rotation& r) const;
  cuda::Affine affine(int32_t index) const { return affine_[static_cast<size_t>(index)]; }
  cuda::Packed packed(const kernels::Packed& p) const;

 private:
  struct Constants;  // where each lies in constants_, in floats
  static Constants lay_out(const Weights& weights);
  void read(const ModelFile& file);

  std::shared_ptr<cuda::Device> device_;
  const uint8_t* host_data_;
  const uint8_t* base_ = nullptr;           // what host_data_ is on the device: data_, or the registered mapping
  std::shared_ptr<const void> registered_;  // the mapping; null: there is a copy
  DeviceMemory data_, constants_;
  std::vector<cuda::Affine> affine_;
  std::map<const float*, cuda::Rotation> mixes_;  // by the host's matrix
};

}  // namespace svq::rt
