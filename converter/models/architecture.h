// Checks of an architecture that hold whatever file it came from.
#pragma once
#include <cstdint>
#include <string>

#include "converter/models/model.h"
#include "svq_generated.h"

namespace svq::convert {

// Upper limits of what a file may claim; far above any model, low enough that products of a few of them fit 64 bits.
constexpr uint64_t kMaxHidden = 1 << 18;
constexpr uint64_t kMaxIntermediate = 1 << 20;
constexpr uint64_t kMaxLayers = 1 << 12;
constexpr uint64_t kMaxHeads = 1 << 12;
constexpr uint64_t kMaxHeadDim = 1 << 12;
constexpr uint64_t kMaxVocab = 1 << 24;
constexpr uint64_t kMaxContext = 1 << 28;

// Relations between fields: heads, head size, rope. Throws Error beginning with `label`.
void check_architecture(const std::string& label, const fb::ArchitectureT& architecture);

// The shape that a slot's tensor must have.
Shape slot_shape(const fb::ArchitectureT& architecture, Slot slot);

}  // namespace svq::convert
