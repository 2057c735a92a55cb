#include "safetensors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

#include "error.hpp"
#include "json.hpp"

namespace zoo {
namespace {

constexpr std::size_t max_file = std::size_t(1) << 30;
constexpr std::size_t max_header = std::size_t(16) << 20;
constexpr long long max_extent = 1 << 28;

std::size_t item_size(const std::string& dtype) {
    if (dtype == "F64" || dtype == "I64") return 8;
    if (dtype == "F32" || dtype == "I32") return 4;
    return 0;
}

template <class T>
double item(const unsigned char* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return double(value);
}

std::string text(const std::vector<int64_t>& shape) {
    std::string out = "[";
    for (const auto extent : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(extent);
    return out + "]";
}

}  // namespace

std::vector<unsigned char> read_file(const std::string& path, std::size_t limit) {
    std::ifstream stream(path, std::ios::binary | std::ios::ate);
    const auto size = stream ? std::streamoff(stream.tellg()) : std::streamoff(-1);
    if (size < 0) bad_file(path + " cannot be read; check that the path is right and the file readable");
    if (std::size_t(size) > limit) {
        bad_file(path + " has " + std::to_string(size) + " bytes; at most " + std::to_string(limit) + " are allowed");
    }
    std::vector<unsigned char> bytes(static_cast<std::size_t>(size));
    stream.seekg(0);
    stream.read(reinterpret_cast<char*>(bytes.data()), size);
    if (!stream) bad_file(path + " could not be read to its end");
    return bytes;
}

Safetensors Safetensors::open(const std::string& path) { return {read_file(path, max_file), path}; }

Safetensors::Safetensors(std::vector<unsigned char> bytes, std::string source)
    : bytes_(std::move(bytes)), source_(std::move(source)) {
    if (bytes_.size() < 8) bad_file(source_ + " is shorter than a safetensors header");
    uint64_t header = 0;
    for (int i = 7; i >= 0; --i) header = header << 8 | bytes_[std::size_t(i)];
    if (header > max_header || header > bytes_.size() - 8) {
        bad_file(source_ + " states a header of " + std::to_string(header) +
                 " bytes, more than it holds or is allowed");
    }
    read_header(std::size_t(header));
    check_layout();
}

void Safetensors::read_header(std::size_t header) {
    data_ = 8 + header;
    const std::string_view document(reinterpret_cast<const char*>(bytes_.data()) + 8, header);
    const json::Value root = json::parse(document, (source_ + ": the header").c_str());
    for (const auto& [name, entry] : root.object("the safetensors header")) {
        if (name == "__metadata__") {
            for (const auto& [key, value] : entry.object("__metadata__")) metadata_[key] = value.string(key.c_str());
            continue;
        }
        const std::string where = source_ + ": tensor " + name;
        Tensor tensor;
        tensor.dtype = entry.at("dtype", where.c_str()).string(where.c_str());
        std::size_t size = item_size(tensor.dtype);
        if (size == 0) bad_file(where + " has dtype " + tensor.dtype + "; allowed are F32, F64, I32 and I64");
        for (const auto& extent : entry.at("shape", where.c_str()).array(where.c_str())) {
            tensor.shape.push_back(extent.integer(where.c_str(), 0, max_extent));
            size *= std::size_t(tensor.shape.back());
            if (size > max_file) bad_file(where + " is larger than any model may be");
        }
        const auto& offsets = entry.at("data_offsets", where.c_str()).array(where.c_str());
        if (offsets.size() != 2) bad_file(where + " must have two data_offsets");
        const auto limit = static_cast<long long>(bytes_.size() - data_);
        tensor.begin = std::size_t(offsets[0].integer((where + " data_offsets").c_str(), 0, limit));
        tensor.end = std::size_t(offsets[1].integer((where + " data_offsets").c_str(), 0, limit));
        if (tensor.end < tensor.begin || tensor.end - tensor.begin != size) {
            bad_file(where + " has " + text(tensor.shape) + " " + tensor.dtype + " but not that many bytes");
        }
        tensors_.emplace(name, std::move(tensor));
    }
}

void Safetensors::check_layout() const {
    std::vector<std::pair<std::size_t, std::size_t>> spans;
    for (const auto& [name, tensor] : tensors_) spans.emplace_back(tensor.begin, tensor.end);
    std::sort(spans.begin(), spans.end());
    std::size_t end = 0;
    for (const auto& [from, to] : spans) {
        if (from != end) bad_file(source_ + ": the tensors overlap or leave a gap");
        end = to;
    }
    if (end != bytes_.size() - data_) bad_file(source_ + ": bytes that belong to no tensor; the file is damaged");
}

std::vector<double> Safetensors::read(const std::string& asked, const std::vector<int64_t>& shape) const {
    const std::string name = prefix_ + asked;
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) bad_file(source_ + " lacks the tensor " + name);
    const Tensor& tensor = found->second;
    if (tensor.shape != shape) {
        bad_file(source_ + ": tensor " + name + " has shape " + text(tensor.shape) + "; its hyperparameters ask for " +
                 text(shape));
    }
    const std::size_t step = item_size(tensor.dtype), count = (tensor.end - tensor.begin) / step;
    std::vector<double> values(count);
    const unsigned char* at = bytes_.data() + data_ + tensor.begin;
    for (std::size_t i = 0; i < count; ++i, at += step) {
        if (tensor.dtype == "F32") values[i] = item<float>(at);
        else if (tensor.dtype == "F64") values[i] = item<double>(at);
        else if (tensor.dtype == "I32") values[i] = item<int32_t>(at);
        else values[i] = double(item<int64_t>(at));
        if (!std::isfinite(values[i])) bad_file(source_ + ": tensor " + name + " holds a number that is not finite");
    }
    return values;
}

const std::string& Safetensors::metadata(const std::string& key) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) bad_file(source_ + " has no " + key + " in its header; it is not a model of zoo");
    return found->second;
}

}  // namespace zoo
