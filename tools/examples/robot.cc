// robot MODEL.svq ["pick up the red cube"]… : a control loop at 100 Hz that goes on undisturbed while the model, in a
// thread of its own, turns sentences into actions. An action is JSON that a schema guarantees, so that nothing has to
// be guessed when it is read; it moves the arm of a small simulation. At the end the loop's jitter is printed, without
// and with the model running.
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <svqrt/svqrt.hpp>
#include <thread>

namespace {

constexpr long kPeriodNs = 10'000'000;  // 100 Hz

constexpr char kSchema[] = R"({
  "type": "object",
  "properties": {
    "action": {"enum": ["move", "pick", "place", "stop"]},
    "target": {"enum": ["red cube", "blue ball", "green box", "home"]},
    "speed": {"type": "number", "minimum": 0.1, "maximum": 1.0}
  },
  "required": ["action", "target", "speed"]
})";

struct Point {
  double x, y;
};

// The world: an arm above a table, things on it, and what was asked for last. The control loop owns the arm; the
// model's thread only leaves an action, which the loop takes when the lock happens to be free.
struct World {
  Point arm{0, 0};
  std::map<std::string, Point> things{
      {"red cube", {0.4, 0.2}}, {"blue ball", {-0.3, 0.5}}, {"green box", {0.1, -0.6}}, {"home", {0, 0}}};
  std::string holding;
  nlohmann::json action;  // under way; null: none

  std::mutex mutex;
  nlohmann::json next;  // protected by mutex

  // One cycle: towards the target, at most speed · 10 ms metres.
  void step() {
    if (mutex.try_lock()) {
      if (!next.is_null()) action = std::exchange(next, nullptr);
      mutex.unlock();
    }
    if (action.is_null()) return;
    if (action["action"] == "stop") {
      action = nullptr;
      return;
    }
    const std::string target = action["target"];
    const Point to = things[target];
    const double distance = std::hypot(to.x - arm.x, to.y - arm.y), reach = action["speed"].get<double>() * 0.01;
    if (distance > reach) {
      arm.x += (to.x - arm.x) / distance * reach;
      arm.y += (to.y - arm.y) / distance * reach;
    } else {
      arm = to;
      if (action["action"] == "pick" && target != "home") holding = target;
      if (action["action"] == "place") holding.clear();
      action = nullptr;
    }
    if (!holding.empty()) things[holding] = arm;
  }
};

int64_t nanoseconds(const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

// Runs the loop until `done`, at least `cycles` times; returns by how many microseconds each cycle began late.
std::vector<double> control_loop(World& world, int cycles, const std::atomic<bool>& done) {
  std::vector<double> late;
  late.reserve(1 << 20);
  timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (int i = 0; i < cycles || !done; ++i) {
    next.tv_nsec += kPeriodNs;
    if (next.tv_nsec >= 1'000'000'000) next.tv_nsec -= 1'000'000'000, ++next.tv_sec;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, nullptr);
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (late.size() < late.capacity()) late.push_back(static_cast<double>(nanoseconds(now) - nanoseconds(next)) / 1000);
    world.step();
  }
  return late;
}

void report(const char* name, std::vector<double> late) {
  std::sort(late.begin(), late.end());
  const auto at = [&](double share) { return late[static_cast<size_t>(share * static_cast<double>(late.size() - 1))]; };
  std::printf("%-14s %6zu cycles   late by µs: median %.0f   99.9 %% %.0f   worst %.0f\n", name, late.size(), at(0.5),
              at(0.999), late.back());
}

// The control loop before everything else, where the system allows it.
bool become_real_time(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  sched_param priority{};
  priority.sched_priority = 50;
  return pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) == 0;
}

// Sentences to actions, one after the other. On the cores that the control loop does not use.
void think(const svq::Model& model, const std::vector<std::string>& sentences, int control_cpu, World& world) {
  svq::SessionOptions options;
  options.context = 1024;
  const unsigned cores = std::min(64u, std::max(1u, std::thread::hardware_concurrency()));
  if (cores > 1) {
    options.threads = static_cast<std::int64_t>(cores) - 1;
    options.affinity =
        (cores == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << cores) - 1) & ~(std::uint64_t{1} << control_cpu);
    cpu_set_t set;  // this thread computes too
    CPU_ZERO(&set);
    for (unsigned c = 0; c < cores; ++c) {
      if ((options.affinity >> c & 1) != 0) CPU_SET(c, &set);
    }
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  } else {
    options.threads = 1;
  }
  options.priority = 10;
  svq::Session start(model, options);
  start.set_limit(SVQ_LIMIT_CANCEL_US, 5000);
  start.eval(model.chat_tokenize(
      {{"system", "You control a robot arm. Answer with the action as JSON: action, target, speed in m/s."}}, false,
      false));
  const svq::Grammar grammar(model, SVQ_GRAMMAR_JSON_SCHEMA, kSchema);
  for (const std::string& sentence : sentences) {
    svq::Session session = start.fork(options);  // the system prompt is evaluated once
    session.set_grammar(grammar);
    session.set_limit(SVQ_LIMIT_DEADLINE_US, 60'000'000);
    session.set_limit(SVQ_LIMIT_CANCEL_US, 5000);
    std::string text;
    const auto result =
        session.generate(model.chat_tokenize({{"user", sentence}}, true), 120, [&](std::string_view part, svq_token) {
          text += part;
          return true;
        });
    if (result.stop != 0) {
      std::printf("\"%s\": no action in time\n", sentence.c_str());
      continue;
    }
    std::printf("\"%s\" -> %s\n", sentence.c_str(), text.c_str());
    const std::lock_guard lock(world.mutex);
    world.next = nlohmann::json::parse(text);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: robot MODEL.svq [SENTENCE]…\n");
    return 2;
  }
  std::vector<std::string> sentences(argv + 2, argv + argc);
  if (sentences.empty())
    sentences = {"Pick up the red cube.", "Slowly go to the blue ball!", "Put it into the green box.", "Stop."};
  try {
    const int control_cpu = 0;
    const svq::Model model(argv[1], [] {
      svq::ModelOptions options;
      options.prefault = true;  // no page fault later
      return options;
    }());
    World world;
    std::vector<double> without, with;
    std::atomic<bool> done{true};
    bool real_time = false;
    const char* seconds = std::getenv("ROBOT_SECONDS");  // of each measurement, at least
    const int cycles = std::max(10, static_cast<int>((seconds == nullptr ? 2.0 : std::atof(seconds)) * 100));
    std::thread control([&] {
      real_time = become_real_time(control_cpu);
      without = control_loop(world, cycles, done);
    });
    control.join();
    done = false;
    std::thread again([&] {
      become_real_time(control_cpu);
      with = control_loop(world, cycles, done);
    });
    std::exception_ptr failure;
    std::thread thinking([&] {
      try {
        think(model, sentences, control_cpu, world);
      } catch (...) {
        failure = std::current_exception();
      }
      done = true;
    });
    thinking.join();
    again.join();
    if (failure) std::rethrow_exception(failure);
    std::printf("arm at %.2f %.2f, holding %s; control loop %s\n", world.arm.x, world.arm.y,
                world.holding.empty() ? "nothing" : world.holding.c_str(),
                real_time ? "with real-time priority" : "without real-time priority");
    report("without model", without);
    report("with model", with);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "robot: %s\n", e.what());
    return 1;
  }
}
