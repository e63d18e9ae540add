// Sequences side by side: libtorch's own loops over the few hundred tokens of one are too short to share well.
#pragma once
#include <cstdint>
#include <functional>

namespace svq::convert {

// visit(i) for all i < count, as many at a time as there are threads, each with its share of libtorch's threads.
// Products by the BLAS run on the asking thread meanwhile. The first exception is thrown again.
void side_by_side(int64_t count, const std::function<void(int64_t)>& visit);

}  // namespace svq::convert
