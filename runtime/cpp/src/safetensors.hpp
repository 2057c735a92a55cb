// Reader of safetensors files: https://github.com/huggingface/safetensors. Everything is checked before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace zoo {

class Safetensors {
  public:
    Safetensors(std::vector<unsigned char> bytes, std::string source);
    static Safetensors open(const std::string& path);

    // The named tensor's values; throws if it is absent, has another shape or holds a number that is not finite.
    std::vector<double> read(const std::string& asked, const std::vector<int64_t>& shape) const;
    // The entry of __metadata__, or throws.
    const std::string& metadata(const std::string& key) const;
    const std::string& source() const { return source_; }
    // What stands before every name that read() is asked for.
    void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }

  private:
    struct Tensor {
        std::string dtype;
        std::vector<int64_t> shape;
        std::size_t begin, end;
    };
    void read_header(std::size_t header);
    void check_layout() const;

    std::vector<unsigned char> bytes_;
    std::string source_, prefix_;
    std::size_t data_ = 0;  // where the tensors' bytes start
    std::map<std::string, Tensor> tensors_;
    std::map<std::string, std::string> metadata_;
};

std::vector<unsigned char> read_file(const std::string& path, std::size_t limit);

}  // namespace zoo
