// Agreement of a quantized model with its float source over some sequences.
#pragma once

namespace svq::convert {

struct Agreement {
  double kl = 0;                  // KL(source ‖ quantized), nats a token
  double perplexity = 0;          // exp of the mean -log p of the next token
  double teacher_perplexity = 0;  // the source's
  double same_top = 0;            // share of positions where both hold the same token most likely
};

}  // namespace svq::convert
