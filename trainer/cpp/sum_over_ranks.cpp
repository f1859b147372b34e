#include "autocast.h"
#include "batch_norm.h"
#include "operators.h"

#include <torch/csrc/autograd/custom_function.h>

namespace {

// With y = sum over ranks of x, and a loss that is the sum of what each rank makes of y, dx on each rank is the sum over
// ranks of their dy: the same function, so that derivatives of every order exist.
struct SumOverRanks : torch::autograd::Function<SumOverRanks> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &own,
                            const c10::intrusive_ptr<SumCallback> &all_ranks) {
    context->saved_data["all_ranks"] = c10::IValue::make_capsule(all_ranks);
    auto sums = own.detach().clone(at::MemoryFormat::Contiguous);
    sum_over_ranks(*all_ranks, &sums);
    return sums;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 const torch::autograd::variable_list &gradients) {
    const NoAutocast no_autocast(c10::autocast_dispatch_keyset);
    const auto capsule = context->saved_data["all_ranks"].toCapsule();
    const auto all_ranks = c10::static_intrusive_pointer_cast<SumCallback>(capsule);
    return {apply(gradients[0], all_ranks), at::Tensor()};
  }
};

} // namespace

char *dtrain_sum_over_ranks(const at::Tensor *own, dtrain_sum_callback callback, at::Tensor **sums) {
  return guarded([&] {
    const auto all_ranks = c10::make_intrusive<SumCallback>(callback);
    TORCH_CHECK(own->dim() == 1 && own->scalar_type() == at::kDouble,
                "a sum over ranks is of one dimension and f64, not ", own->sizes(), " ", own->toString());
    *sums = new at::Tensor(SumOverRanks::apply(*own, all_ranks));
  });
}
