// A strict reader of JSON (RFC 8259) for metadata that may be damaged or hostile.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace zoo::json {

class Value;
using Array = std::vector<Value>;
using Object = std::map<std::string, Value, std::less<>>;

// Every accessor throws zoo::Error with `where` in its text if the value is of another kind.
class Value {
  public:
    std::variant<std::nullptr_t, bool, double, std::string, Array, Object> data = nullptr;

    bool is_null() const { return data.index() == 0; }
    const Value* find(std::string_view key) const;  // nullptr if absent, or if this is no object
    const Value& at(std::string_view key, const char* where) const;
    const Object& object(const char* where) const;
    const Array& array(const char* where) const;
    const std::string& string(const char* where) const;
    double number(const char* where) const;
    bool boolean(const char* where) const;
    long long integer(const char* where, long long low, long long high) const;
};

Value parse(std::string_view text, const char* what);

}  // namespace zoo::json
