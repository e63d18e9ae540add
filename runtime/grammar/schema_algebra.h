// What JSON Schemas say together: which values one admits, what two have in common, whether they have anything.
#pragma once
#include <functional>
#include <string>

#include "runtime/base/error.h"
#include "runtime/base/json_reader.h"

namespace svq::rt {

// A schema that no value satisfies: an alternative or an optional property of that kind is left out.
struct NoValue : Error {
  using Error::Error;
};

class SchemaAlgebra {
 public:
  using Resolve = std::function<const JsonValue&(const std::string& reference)>;
  using Refuse = std::function<void(const std::string& what)>;  // throws
  // resolve: what a $ref names; refuse: for what cannot be worked out.
  SchemaAlgebra(Resolve resolve, Refuse refuse) : resolve_(std::move(resolve)), refuse_(std::move(refuse)) {}

  // The same schema without $ref and allOf at its top, and without annotations. Throws NoValue.
  JsonValue expand(const JsonValue& schema, int depth = 0) const;
  // Whether the value satisfies the schema.
  bool admits(const JsonValue& schema, const JsonValue& value, int depth = 0) const;
  // Whether what the rules of one schema write never satisfies the other. False also where that is not known.
  bool disjoint(const JsonValue& a, const JsonValue& b, int depth = 0) const;

  static bool equal(const JsonValue& a, const JsonValue& b);
  static bool is_annotation(std::string_view key);

 private:
  JsonValue both(const JsonValue& a, const JsonValue& b) const;  // expanded ones
  void merge_object(const JsonValue& a, const JsonValue& b, JsonValue& out) const;
  void merge_array(const JsonValue& a, const JsonValue& b, JsonValue& out) const;

  Resolve resolve_;
  Refuse refuse_;
};

// Of JsonValue, for schemas that are put together.
JsonValue json_bool(bool truth);
JsonValue json_string(std::string text);
JsonValue json_list(std::vector<JsonValue> items);
JsonValue json_object(std::vector<std::pair<std::string, JsonValue>> members);
// A finite number; false if the value is none.
bool number_of(const JsonValue& value, double& out);
// Whether value is a multiple of step, as decimal numbers of at most six places.
bool is_multiple(double value, double step);
// Characters of a UTF-8 text.
size_t characters(std::string_view text);

}  // namespace svq::rt
