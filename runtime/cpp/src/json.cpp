#include "json.hpp"

#include <cmath>
#include <locale>
#include <sstream>

#include "error.hpp"

namespace zoo::json {
namespace {

constexpr int max_depth = 64;

class Parser {
  public:
    Parser(std::string_view text, const char* what) : text_(text), what_(what) {}

    Value document() {
        Value value = element(0);
        space();
        if (at_ != text_.size()) fail("text after the end");
        return value;
    }

  private:
    [[noreturn]] void fail(const char* why) const {
        bad_file(std::string(what_) + " is not valid JSON: " + why + " at byte " + std::to_string(at_));
    }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void space() {
        while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
    }

    bool take(char c) {
        space();
        if (peek() != c || at_ >= text_.size()) return false;
        ++at_;
        return true;
    }

    void word(std::string_view expected) {
        if (text_.substr(at_, expected.size()) != expected) fail("an unknown word");
        at_ += expected.size();
    }

    Value element(int depth) {
        if (depth > max_depth) fail("nested too deeply");
        space();
        Value value;
        switch (peek()) {
            case '{': value.data = object(depth); break;
            case '[': value.data = array(depth); break;
            case '"': value.data = string(); break;
            case 't':
                word("true");
                value.data = true;
                break;
            case 'f':
                word("false");
                value.data = false;
                break;
            case 'n': word("null"); break;
            default: value.data = number();
        }
        return value;
    }

    Object object(int depth) {
        Object members;
        ++at_;
        if (take('}')) return members;
        do {
            space();
            if (peek() != '"') fail("a member without a name");
            std::string name = string();
            if (!take(':')) fail("no ':' after a name");
            if (!members.emplace(std::move(name), element(depth + 1)).second) fail("a name used twice");
        } while (take(','));
        if (!take('}')) fail("no '}' or ','");
        return members;
    }

    Array array(int depth) {
        Array items;
        ++at_;
        if (take(']')) return items;
        do items.push_back(element(depth + 1));
        while (take(','));
        if (!take(']')) fail("no ']' or ','");
        return items;
    }

    unsigned hex4() {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const char c = peek();
            if (c >= '0' && c <= '9') code = code * 16 + unsigned(c - '0');
            else if (c >= 'a' && c <= 'f') code = code * 16 + unsigned(c - 'a' + 10);
            else if (c >= 'A' && c <= 'F') code = code * 16 + unsigned(c - 'A' + 10);
            else fail("a bad \\u escape");
        }
        return code;
    }

    void escape(std::string& out) {
        const char c = peek();
        ++at_;
        constexpr std::string_view from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
        if (const auto i = from.find(c); c != '\0' && i != std::string_view::npos) {
            out += to[i];
            return;
        }
        if (c != 'u') fail("an unknown escape");
        unsigned code = hex4();
        if (code >= 0xDC00 && code < 0xE000) fail("half a surrogate pair");
        if (code >= 0xD800 && code < 0xDC00) {
            if (text_.substr(at_, 2) != "\\u") fail("half a surrogate pair");
            at_ += 2;
            const unsigned low = hex4();
            if (low < 0xDC00 || low >= 0xE000) fail("half a surrogate pair");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        if (code < 0x80) {
            out += char(code);
        } else if (code < 0x800) {
            out += {char(0xC0 | (code >> 6)), char(0x80 | (code & 63))};
        } else if (code < 0x10000) {
            out += {char(0xE0 | (code >> 12)), char(0x80 | ((code >> 6) & 63)), char(0x80 | (code & 63))};
        } else {
            out += {char(0xF0 | (code >> 18)), char(0x80 | ((code >> 12) & 63)), char(0x80 | ((code >> 6) & 63)),
                    char(0x80 | (code & 63))};
        }
    }

    std::string string() {
        std::string out;
        ++at_;
        while (true) {
            if (at_ >= text_.size()) fail("a string without an end");
            const char c = text_[at_++];
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
            if (c == '\\') escape(out);
            else out += c;
        }
    }

    void digits() {
        const auto from = at_;
        while (peek() >= '0' && peek() <= '9') ++at_;
        if (at_ == from) fail("not a value");
    }

    double number() {
        const auto from = at_;
        if (peek() == '-') ++at_;
        if (peek() == '0') ++at_;
        else digits();
        if (peek() == '.') ++at_, digits();
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            digits();
        }
        // A stream with the classic locale: strtod would obey the host's decimal comma.
        std::istringstream stream{std::string(text_.substr(from, at_ - from))};
        stream.imbue(std::locale::classic());
        double value = 0;
        stream >> value;
        if (!std::isfinite(value) || (stream.fail() && value != 0)) fail("a number out of range");
        return value;
    }

    std::string_view text_;
    const char* what_;
    std::size_t at_ = 0;
};

template <class Kind>
const Kind& get(const Value& value, const char* where, const char* kind) {
    if (const Kind* found = std::get_if<Kind>(&value.data)) return *found;
    bad_file(std::string(where) + " must be " + kind);
}

}  // namespace

const Value* Value::find(std::string_view key) const {
    const Object* members = std::get_if<Object>(&data);
    if (!members) return nullptr;
    const auto found = members->find(key);
    return found == members->end() ? nullptr : &found->second;
}

const Value& Value::at(std::string_view key, const char* where) const {
    object(where);
    if (const Value* value = find(key)) return *value;
    bad_file(std::string(where) + " lacks \"" + std::string(key) + "\"");
}

const Object& Value::object(const char* where) const { return get<Object>(*this, where, "an object"); }
const Array& Value::array(const char* where) const { return get<Array>(*this, where, "an array"); }
const std::string& Value::string(const char* where) const { return get<std::string>(*this, where, "a string"); }
double Value::number(const char* where) const { return get<double>(*this, where, "a number"); }
bool Value::boolean(const char* where) const { return get<bool>(*this, where, "true or false"); }

long long Value::integer(const char* where, long long low, long long high) const {
    const double value = number(where);
    if (value != std::floor(value) || value < double(low) || value > double(high)) {
        bad_file(std::string(where) + " must be an integer from " + std::to_string(low) + " to " +
                 std::to_string(high));
    }
    return static_cast<long long>(value);
}

Value parse(std::string_view text, const char* what) { return Parser(text, what).document(); }

}  // namespace zoo::json
