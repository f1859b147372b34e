//! What an answer depends on, position by position of the input.

use tch::{Kind, TchError, Tensor};

use crate::loss::input_gradient::input_gradient;
use crate::method::Explained;
use crate::model::ForwardContext;

/// Steps of the integral of [`integrated_gradients`].
const STEPS: i64 = 32;

/// The gradient of the sum of the log-probabilities with respect to `inputs` [n, C, H, W], in evaluation mode: what Ross et al. 2017
/// penalize. As `inputs`.
///
/// # Errors
/// When memory runs out.
pub(super) fn log_probability_gradient(
    explained: &Explained<'_>,
    inputs: &Tensor,
) -> Result<Tensor, TchError> {
    let inputs = inputs.f_detach()?.f_set_requires_grad(true)?;
    Ok(input_gradient(&scores(explained, &inputs)?, &inputs, false)?.detach())
}

/// Integrated gradients of the score of the class that is predicted, from an input of zeros, which after normalization is the mean
/// of the data (Sundararajan et al. 2017, arXiv 1703.01365), by the midpoint rule over [`STEPS`] steps. As `inputs` [n, C, H, W];
/// their sum over a sample is the score less that of zeros, within the error of the rule.
///
/// # Errors
/// When memory runs out.
pub(super) fn integrated_gradients(explained: &Explained<'_>, inputs: &Tensor) -> Result<Tensor, TchError> {
    let inputs = inputs.detach();
    let classes = tch::no_grad(|| scores(explained, &inputs))?.f_argmax(1, true)?;
    let mut sum = inputs.f_zeros_like()?;
    for step in 0..STEPS {
        let at = (step as f64 + 0.5) / STEPS as f64;
        let point = inputs.f_mul_scalar(at)?.f_set_requires_grad(true)?;
        let own = scores(explained, &point)?.f_gather(1, &classes, false)?.f_sum(None::<Kind>)?;
        let gradients = Tensor::f_run_backward(&[&own], &[&point], false, false)?;
        if let Some(gradient) = gradients.first() {
            sum += gradient;
        }
    }
    inputs.f_mul(&sum)?.f_div_scalar(STEPS as f64)
}

/// Grad-CAM of the class that is predicted (Selvaraju et al. 2017, arXiv 1610.02391): feature maps weighted by the mean over positions
/// of the gradient of its score, summed, cut off at zero and resized to the input bilinearly. [n, 1, H, W]; `None` where
/// the embedding does not come of maps.
///
/// # Errors
/// When memory runs out.
pub(super) fn grad_cam(explained: &Explained<'_>, inputs: &Tensor) -> Result<Option<Tensor>, TchError> {
    let pass = ForwardContext::eval();
    let mut features = tch::no_grad(|| explained.backbone.features(inputs, &pass))?;
    let shape = inputs.size();
    let ([_, _, height, width], None) = (shape.as_slice(), &features.token) else { return Ok(None) };
    // A network that knows no positions has one.
    if !matches!(*features.maps.size(), [_, _, rows, columns] if rows * columns > 1) {
        return Ok(None);
    }
    features.maps = features.maps.f_detach()?.f_set_requires_grad(true)?;
    let scores = explained.scores(&explained.backbone.pool(&features, &pass)?)?;
    let own = scores.f_amax([1i64].as_slice(), false)?.f_sum(None::<Kind>)?;
    let gradients = Tensor::f_run_backward(&[&own], &[&features.maps], false, false)?;
    let Some(gradient) = gradients.first() else { return Ok(None) };
    let weights = gradient.f_mean_dim([2i64, 3].as_slice(), true, None::<Kind>)?;
    let maps =
        features.maps.detach().f_mul(&weights)?.f_sum_dim_intlist([1i64].as_slice(), true, None::<Kind>)?;
    Ok(Some(maps.f_relu()?.f_upsample_bilinear2d([*height, *width], false, None, None)?))
}

fn scores(explained: &Explained<'_>, inputs: &Tensor) -> Result<Tensor, TchError> {
    explained.scores(&explained.backbone.forward(inputs, &ForwardContext::eval())?)
}

/// For each sample the share of `importance` [n, C, H, W], by its size, that lies within `masks` [n, 1, H, W]: `[n]`, f64, NaN where
/// nothing is of any importance.
///
/// # Errors
/// When memory runs out.
pub(super) fn share_within(importance: &Tensor, masks: &Tensor) -> Result<Tensor, TchError> {
    let sizes = importance.f_to_kind(Kind::Double)?.f_abs()?;
    let sum = |of: &Tensor| of.f_sum_dim_intlist([1i64, 2, 3].as_slice(), false, None::<Kind>);
    sum(&sizes.f_mul(&masks.f_to_kind(Kind::Double)?)?)?.f_div(&sum(&sizes)?)
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::ModelConfig;
    use tch::Device;

    use super::*;
    use crate::model::classifier::Classifier;
    use crate::model::parameters::Parameters;
    use crate::model::{Backbone, build_backbone};

    struct Network {
        backbone: Box<dyn Backbone>,
        classifier: Classifier,
    }

    impl Network {
        fn new(name: &str) -> Self {
            let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 5);
            let model = ModelConfig::named(name).unwrap();
            let backbone = build_backbone(&model, [1, 32, 32].into(), &mut parameters);
            let classifier = Classifier::new(backbone.num_features(), 3, &mut parameters);
            Self { backbone, classifier }
        }

        fn explained(&self) -> Explained<'_> {
            Explained { backbone: &*self.backbone, classifier: &self.classifier }
        }
    }

    fn inputs() -> Tensor {
        tch::manual_seed(4);
        Tensor::randn([3, 1, 32, 32], (Kind::Double, Device::Cpu))
    }

    fn largest(tensor: &Tensor) -> f64 {
        f64::try_from(tensor.abs().max()).unwrap()
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_log_probabilities() {
        let network = Network::new("mlp");
        let (explained, inputs) = (network.explained(), inputs());
        let found = log_probability_gradient(&explained, &inputs).unwrap();
        let sum_at = |by: f64| {
            let moved = inputs.copy();
            let _ = moved.get(1).get(0).get(7).get(9).g_add_scalar_(by);
            let scores = tch::no_grad(|| scores(&explained, &moved)).unwrap();
            f64::try_from(scores.log_softmax(1, None::<Kind>).sum(None::<Kind>)).unwrap()
        };
        let slope = (sum_at(1e-6) - sum_at(-1e-6)) / 2e-6;
        assert!((found.double_value(&[1, 0, 7, 9]) - slope).abs() < 1e-6 * slope.abs().max(1.0));
    }

    /// Axiom of completeness.
    #[test]
    fn integrated_gradients_add_up_to_the_score() {
        for name in ["mlp", "cnn_small"] {
            let network = Network::new(name);
            let (explained, inputs) = (network.explained(), inputs());
            let found = integrated_gradients(&explained, &inputs).unwrap();
            let of = |inputs: &Tensor| tch::no_grad(|| scores(&explained, inputs)).unwrap();
            let classes = of(&inputs).argmax(1, true);
            let change = (of(&inputs) - of(&inputs.zeros_like())).gather(1, &classes, false).squeeze_dim(1);
            let sums = found.sum_dim_intlist([1i64, 2, 3].as_slice(), false, None::<Kind>);
            let off = largest(&(&sums - &change)) / largest(&change);
            // Of the rule, at the kinks of ReLU.
            assert!(off < 0.06, "{name}: {off}");
        }
    }

    /// By a difference of each feature map as a whole, which its weight tells of where pooling is a mean.
    #[test]
    fn maps_are_weighted_by_their_gradient() {
        let network = Network::new("cnn_small");
        let (explained, inputs) = (network.explained(), inputs());
        let found = grad_cam(&explained, &inputs).unwrap().unwrap();
        assert_eq!(found.size(), [3, 1, 32, 32]);
        let pass = ForwardContext::eval();
        let features = tch::no_grad(|| network.backbone.features(&inputs, &pass)).unwrap();
        let scores = network.classifier.forward(&network.backbone.pool(&features, &pass).unwrap()).unwrap();
        let classes = Vec::<i64>::try_from(scores.argmax(1, false)).unwrap();
        let positions = (features.maps.size()[2] * features.maps.size()[3]) as f64;
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 5);
        build_backbone(&ModelConfig::named("cnn_small").unwrap(), [1, 32, 32].into(), &mut parameters);
        let _ = Classifier::new(network.backbone.num_features(), 3, &mut parameters);
        let weight = parameters.parameters().iter().find(|own| own.name == "weight").unwrap();
        for (sample, class) in (0i64..).zip(classes) {
            // Of a mean over positions and a linear layer the gradient is the weight over the positions.
            let weights = weight.tensor.get(class).view([-1, 1, 1]) / positions;
            let map = (features.maps.get(sample) * weights)
                .sum_dim_intlist([0i64].as_slice(), false, None::<Kind>)
                .relu();
            let (own, expected) = (found.get(sample).max(), map.max());
            assert!((f64::try_from(own).unwrap() - f64::try_from(expected).unwrap()).abs() < 1e-9);
        }
    }

    #[test]
    fn shares_are_of_sizes_whatever_their_sign() {
        let importance = Tensor::from_slice(&[1.0, -3.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0]).view([2, 1, 2, 2]);
        let masks = Tensor::from_slice(&[0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).view([2, 1, 2, 2]);
        let shares = Vec::<f64>::try_from(share_within(&importance, &masks).unwrap()).unwrap();
        assert!((shares[0] - 3.0 / 8.0).abs() < 1e-12 && shares[1].is_nan());
    }
}
