// What every file of this folder needs to keep the promise of torch_extra.h: no exception passes the interface.
#pragma once

#include "torch_extra.h"

#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>

#include <array>
#include <cstring>
#include <exception>
#include <stdexcept>

template <typename Body> char *guarded(Body &&body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return dtrain_message(error.what_without_backtrace(), &strdup);
  } catch (const std::exception &error) {
    return dtrain_message(error.what(), &strdup);
  } catch (...) {
    return dtrain_message("unknown C++ exception", &strdup);
  }
}

// A callback whose context is released with the last holder.
template <typename Callback> struct Shared : torch::CustomClassHolder {
  explicit Shared(Callback callback) : callback(callback) {}
  ~Shared() override {
    if (callback.release != nullptr)
      callback.release(callback.context);
  }

  template <typename Argument> void call(Argument argument) const {
    std::array<char, 512> message{};
    if (callback.call(callback.context, argument, message.data(), message.size() - 1) != 0)
      throw std::runtime_error(message.data());
  }

  Callback callback;
};
