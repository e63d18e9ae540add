// The way a program takes: the shared library opens a module (here the emulation's) through the public interface.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "svqrt/svqrt.hpp"

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<float> logits_on(svq_device device) {
  svq::ModelOptions options;
  options.device = device;
  const svq::Model model(variable("SVQ_TEST_TINY"), options);
  EXPECT_EQ(std::string(model.info().isa) == "cuda", device != SVQ_DEVICE_CPU);
  svq::SessionOptions session_options;
  session_options.context = 64;
  session_options.gpu_priority = 2;
  svq::Session session(model, session_options);
  session.eval(model.tokenize("the other thing"));
  const float* logits = svq_session_logits(session.get());
  EXPECT_NE(logits, nullptr);
  return {logits, logits + model.info().vocab};
}

// In the order of the file: where a module was opened once, it stays.
TEST(Module, WhereThereIsNoneTheCpuRunsAndTheReasonIsSaid) {
  const std::string module = variable("SVQ_CUDA_MODULE");
  setenv("SVQ_CUDA_MODULE", "/nonexistent/module.so", 1);
  try {
    logits_on(SVQ_DEVICE_CUDA);
    ADD_FAILURE() << "a model was loaded";
  } catch (const svq::Error& e) {
    EXPECT_EQ(e.status(), SVQ_ERROR_UNSUPPORTED);
    EXPECT_NE(std::string(e.what()).find("/nonexistent/module.so"), std::string::npos) << e.what();
  }
  std::string log;
  svq_set_log([](svq_log_level, const char* message, void* user) { *static_cast<std::string*>(user) += message; },
              &log);
  svq::ModelOptions options;
  options.device = SVQ_DEVICE_AUTO;
  const svq::Model model(variable("SVQ_TEST_TINY"), options);
  svq_set_log(nullptr, nullptr);
  EXPECT_NE(std::string(model.info().isa), "cuda");
  EXPECT_NE(log.find("running on the CPU"), std::string::npos) << log;
  EXPECT_NE(log.find("/nonexistent/module.so"), std::string::npos) << log;
  setenv("SVQ_CUDA_MODULE", module.c_str(), 1);
}

TEST(Module, OpensAndAgreesWithTheCpu) {
  const auto cpu = logits_on(SVQ_DEVICE_CPU), gpu = logits_on(SVQ_DEVICE_CUDA);
  EXPECT_EQ(gpu, logits_on(SVQ_DEVICE_AUTO));
  double squares = 0, total = 0;
  for (size_t i = 0; i < cpu.size(); ++i) {
    squares += std::pow(double{gpu[i]} - cpu[i], 2);
    total += std::pow(double{cpu[i]}, 2);
  }
  EXPECT_LT(std::sqrt(squares / total), 0.05);
}

TEST(Module, BudgetAndLockOnAGpu) {
  svq::ModelOptions options;
  options.device = SVQ_DEVICE_CUDA;
  const auto status = [&] {
    try {
      const svq::Model model(variable("SVQ_TEST_TINY"), options);
    } catch (const svq::Error& e) {
      return e.status();
    }
    return SVQ_OK;
  };
  options.memory_budget = 1000;
  EXPECT_EQ(status(), SVQ_ERROR_OUT_OF_MEMORY);
  options.memory_budget = 1 << 30;
  EXPECT_EQ(status(), SVQ_OK);
  options.lock = true;
  EXPECT_EQ(status(), SVQ_ERROR_UNSUPPORTED);
}

TEST(Module, EstimateNamesGpuMemory) {
  svq_size_estimate size{};
  ASSERT_EQ(svq_estimate_size(variable("SVQ_TEST_TINY").c_str(), nullptr, &size), SVQ_OK);
  EXPECT_GT(size.gpu_model_bytes, size.file_bytes / 2);
  EXPECT_GT(size.gpu_session_bytes, size.kv_bytes_per_token);
}

}  // namespace
