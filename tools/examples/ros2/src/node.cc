// Action server "generate": prompt in, feedback for every token, cancel and deadline honoured within a step of the
// model.
//   ros2 run svqrt_ros svqrt_node --ros-args -p model:=/path/model.svq -p threads:=4
#include <rclcpp/rclcpp.hpp>
#include <rclcpp_action/rclcpp_action.hpp>
#include <svqrt/svqrt.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "svqrt_ros/action/generate.hpp"

namespace {

using Generate = svqrt_ros::action::Generate;
using Goal = rclcpp_action::ServerGoalHandle<Generate>;

class Node : public rclcpp::Node {
 public:
  Node() : rclcpp::Node("svqrt"), model_(declare_parameter<std::string>("model")), session_(model_, options()) {
    session_.set_limit(SVQ_LIMIT_CANCEL_US, declare_parameter<int>("cancel_us", 10000));
    session_.set_limit(SVQ_LIMIT_DUTY_PERCENT, declare_parameter<int>("duty_percent", 100));
    server_ = rclcpp_action::create_server<Generate>(
        this, "generate",
        [this](const rclcpp_action::GoalUUID&, std::shared_ptr<const Generate::Goal>) {
          return busy_.exchange(true) ? rclcpp_action::GoalResponse::REJECT
                                      : rclcpp_action::GoalResponse::ACCEPT_AND_EXECUTE;
        },
        [this](std::shared_ptr<Goal>) {
          session_.cancel();
          return rclcpp_action::CancelResponse::ACCEPT;
        },
        [this](std::shared_ptr<Goal> goal) {
          if (worker_.joinable()) worker_.join();
          worker_ = std::thread([this, goal] {
            run(*goal);
            busy_ = false;
          });
        });
  }
  ~Node() override {
    stopping_ = true;
    session_.cancel();
    if (worker_.joinable()) worker_.join();
  }

 private:
  svq::SessionOptions options() {
    svq::SessionOptions o;
    o.threads = declare_parameter<int>("threads", 0);
    o.affinity = static_cast<std::uint64_t>(declare_parameter<int>("affinity", 0));
    o.priority = declare_parameter<int>("priority", 10);
    o.context = declare_parameter<int>("context", 2048);
    return o;
  }

  void run(Goal& goal) {
    const auto request = goal.get_goal();
    auto result = std::make_shared<Generate::Result>();
    // A cancel that came as the goal before this one ended counts for the next call: that one is made again.
    while (!attempt(goal, *request, result)) *result = Generate::Result();
  }

  // False: cancelled, but not by this goal's client.
  bool attempt(Goal& goal, const Generate::Goal& request, const std::shared_ptr<Generate::Result>& result) {
    try {
      std::optional<svq::Grammar> grammar;
      if (!request.schema.empty()) grammar.emplace(model_, SVQ_GRAMMAR_JSON_SCHEMA, request.schema);
      if (grammar) {
        session_.set_grammar(*grammar);
      } else {
        session_.clear_grammar();
      }
      session_.truncate(0);
      session_.set_limit(SVQ_LIMIT_DEADLINE_US, static_cast<std::int64_t>(request.seconds * 1e6));
      auto feedback = std::make_shared<Generate::Feedback>();
      const auto r =
          session_.generate(model_.chat_tokenize({{"user", request.prompt}}),
                            request.max_tokens == 0 ? 256 : request.max_tokens, [&](std::string_view text, svq_token) {
                              feedback->text = text;
                              result->text += text;
                              goal.publish_feedback(feedback);
                              return !goal.is_canceling();
                            });
      static const char* const kStops[] = {"end", "max_tokens", "cancelled", "context_full", "cancelled", "deadline"};
      result->stop = kStops[r.stop];
      result->tokens = static_cast<std::uint32_t>(r.n_generated);
      if (goal.is_canceling()) {
        goal.canceled(result);
      } else {
        goal.succeed(result);
      }
    } catch (const svq::Error& e) {
      if (e.status() == SVQ_ERROR_CANCELLED && !goal.is_canceling() && !stopping_) return false;
      result->stop = e.status() == SVQ_ERROR_CANCELLED ? "cancelled" : e.what();
      if (goal.is_canceling()) {
        goal.canceled(result);
      } else {
        goal.abort(result);
      }
    }
    return true;
  }

  svq::Model model_;
  svq::Session session_;
  std::atomic<bool> busy_{false}, stopping_{false};
  std::thread worker_;
  rclcpp_action::Server<Generate>::SharedPtr server_;
};

}  // namespace

int main(int argc, char** argv) {
  rclcpp::init(argc, argv);
  try {
    rclcpp::spin(std::make_shared<Node>());
  } catch (const std::exception& e) {
    RCLCPP_FATAL(rclcpp::get_logger("svqrt"), "%s", e.what());
    return 1;
  }
  rclcpp::shutdown();
}
