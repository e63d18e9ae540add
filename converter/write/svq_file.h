// The .svq file from its parts: metadata first, then the parts' data sections one after another, streamed.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "converter/write/part_file.h"
#include "svq_generated.h"

namespace svq::convert {

// Moves the parts' transforms, maps, linears and norms to their places in `model` (which has its architecture), in the
// given order, with indices and offsets made global. Linears and norms are placed by name: "embedding", "head",
// "final_norm", "blocks.N.q" …. Throws Error naming what is missing or unknown. Returns the size of the data section.
uint64_t assemble(fb::ModelT& model, const std::vector<const fb::PartT*>& parts);

// Metadata as it stands in the file. Scalars equal to their defaults are written too, so that its size depends on
// the structure and the strings alone, never on a value: the plan knows it before the work.
std::vector<uint8_t> serialize(const fb::ModelT& model);

// Bytes of the file with this metadata and data section.
uint64_t file_size(uint64_t metadata_size, uint64_t data_size);

// Writes the file. part_files: in the order given to assemble, their data sections of these sizes. Every tensor's
// checksum is verified on the way. progress(fraction) may throw to stop. check is given the complete file under its
// temporary name; if it throws an Error, the file is kept as rejected_path(path), and whatever was at `path` stays.
// Returns the size.
uint64_t write_svq(const std::filesystem::path& path, const fb::ModelT& model,
                   const std::vector<std::filesystem::path>& part_files, const std::vector<const fb::PartT*>& parts,
                   const std::function<void(double)>& progress = {},
                   const std::function<void(const std::filesystem::path&)>& check = {});
std::filesystem::path rejected_path(const std::filesystem::path& path);  // "PATH.rejected"

}  // namespace svq::convert
