//! Sums over the samples of a global batch that no gradient needs: counts of a codebook's entries, the mean that a teacher's
//! outputs are centred by, an entropy.

use std::collections::BTreeMap;

use dtrain_data::rng::Stream;
use tch::{Kind, TchError, Tensor};

/// Named tensors of any shape, which the engine adds up over micro-batches and ranks in f64. Every part of a batch gives the
/// same names with the same shapes in the same order, also a part without samples.
#[derive(Debug, Default)]
pub struct Statistics(Vec<(&'static str, Tensor)>);

impl Statistics {
    /// Adds `sum`, this part's share, without graph.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn put(&mut self, name: &'static str, sum: &Tensor) -> Result<(), TchError> {
        // Always a copy: what is given may be a buffer that moves later.
        self.0.push((name, sum.detach().f_to_dtype(Kind::Double, false, true)?));
        Ok(())
    }

    /// The sum with a name, f64, in the shape that it was given in.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Tensor, TchError> {
        let found = self.0.iter().find(|(own, _)| *own == name);
        found.map(|(_, sum)| sum).ok_or_else(|| TchError::Torch(format!("no statistic is named `{name}`")))
    }

    /// Whether there is nothing to sum.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of another part of the batch.
    ///
    /// # Errors
    /// When names or shapes differ, or memory runs out.
    pub fn add(&mut self, part: Self) -> Result<(), TchError> {
        if self.0.is_empty() {
            *self = part;
            return Ok(());
        }
        let same = self.0.iter().map(|(name, sum)| (name, sum.size()));
        if !same.eq(part.0.iter().map(|(name, sum)| (name, sum.size()))) {
            return Err(TchError::Torch("parts of a batch give different statistics".into()));
        }
        for ((_, sum), (_, more)) in self.0.iter_mut().zip(part.0) {
            let _ = sum.f_add_(&more)?;
        }
        Ok(())
    }

    /// Sums all of them over ranks by one call of `sum`, which is given a contiguous f64 tensor `[n]`.
    ///
    /// # Errors
    /// Those of `sum`, and when memory runs out.
    pub fn sum_by<E: From<TchError>>(
        &mut self,
        sum: impl FnOnce(&mut Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.0.is_empty() {
            return Ok(());
        }
        let flat: Vec<Tensor> =
            self.0.iter().map(|(_, own)| own.f_flatten(0, -1)).collect::<Result<_, _>>()?;
        let mut all = Tensor::f_cat(&flat, 0)?;
        sum(&mut all)?;
        let mut offset = 0;
        for (_, own) in &mut self.0 {
            let len = own.numel() as i64;
            *own = all.f_narrow(0, offset, len)?.f_view(own.size().as_slice())?;
            offset += len;
        }
        Ok(())
    }
}

/// Samples of the global batch that a random draw has put into numbered slots, the same on all ranks: rows of them travel as
/// sums, so that neither ranks nor micro-batches matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnSamples(Vec<i64>);

impl DrawnSamples {
    /// The position in the global batch of the sample in each slot; [`NONE`](dtrain_data::columns::NONE) where there is none.
    pub fn new(positions: Vec<i64>) -> Self {
        Self(positions)
    }

    /// Slots.
    pub fn num_slots(&self) -> usize {
        self.0.len()
    }

    /// `[num_slots, D + 1]`: in each slot the row of its sample among `rows` `[n, D]`, which belong to `positions`, and a 1
    /// behind it; zeros where the sample is in another part, or could not be read.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn rows_of(&self, rows: &Tensor, positions: &[i64]) -> Result<Tensor, TchError> {
        let width = rows.size().get(1).copied().unwrap_or(0);
        let slots = Tensor::f_zeros([self.0.len() as i64, width + 1], (Kind::Double, rows.device()))?;
        let here = |slot: i64, position: &i64| {
            let at = positions.iter().position(|own| own == position)?;
            Some((slot, at as i64))
        };
        let (to, from): (Vec<i64>, Vec<i64>) =
            (0..).zip(&self.0).filter_map(|(slot, position)| here(slot, position)).unzip();
        filled(slots, rows, &to, &from)
    }

    /// The same for vectors of samples, `vectors_per_sample` of each, where slots hold numbers of vectors: of vector v of the
    /// sample at position p the number `p * vectors_per_sample + v`. `rows` `[n * vectors_per_sample, D]` are sample by sample.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn vectors_of(
        &self,
        rows: &Tensor,
        positions: &[i64],
        vectors_per_sample: i64,
    ) -> Result<Tensor, TchError> {
        let width = rows.size().get(1).copied().unwrap_or(0);
        let slots = Tensor::f_zeros([self.0.len() as i64, width + 1], (Kind::Double, rows.device()))?;
        let each = vectors_per_sample.max(1);
        let here = |(slot, number): (i64, &i64)| {
            let at = positions.iter().position(|own| *own == number.div_euclid(each))?;
            Some((slot, at as i64 * each + number.rem_euclid(each)))
        };
        let (to, from): (Vec<i64>, Vec<i64>) = (0..).zip(&self.0).filter_map(here).unzip();
        filled(slots, rows, &to, &from)
    }
}

/// The first `wanted` of a shuffle of the numbers below `num` (Fisher and Yates); all of them where there are fewer.
pub fn draw_without_replacement(random: &mut Stream, num: i64, wanted: i64) -> Vec<i64> {
    // Where something else than its own number lies.
    let mut moved: BTreeMap<i64, i64> = BTreeMap::new();
    let draw = |place: i64| {
        let other = place + random.up_to((num - 1 - place) as usize) as i64;
        let own = moved.get(&place).copied().unwrap_or(place);
        moved.insert(other, own).unwrap_or(other)
    };
    (0..wanted.min(num)).map(draw).collect()
}

/// `slots` with the rows `from` and a 1 behind each in the places `to`.
fn filled(slots: Tensor, rows: &Tensor, to: &[i64], from: &[i64]) -> Result<Tensor, TchError> {
    if to.is_empty() {
        return Ok(slots);
    }
    let (kind, device) = (slots.kind(), slots.device());
    let index = |numbers: &[i64]| Tensor::f_from_slice(numbers)?.f_to_device(device);
    let chosen = rows.detach().f_index_select(0, &index(from)?)?.f_to_kind(kind)?;
    let ones = Tensor::f_ones([from.len() as i64, 1], (kind, device))?;
    slots.f_index_copy(0, &index(to)?, &Tensor::f_cat(&[chosen, ones], 1)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dtrain_data::columns::NONE;
    use dtrain_data::rng::{Purpose, stream};

    use super::*;

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.flatten(0, -1).to_kind(Kind::Double)).unwrap()
    }

    fn part(shift: f64) -> Statistics {
        let mut part = Statistics::default();
        part.put("counts", &(Tensor::from_slice(&[1.0_f32, 2.0, 3.0]) + shift)).unwrap();
        part.put("rows", &Tensor::from_slice(&[10_i64, 20]).view([2, 1])).unwrap();
        part
    }

    #[test]
    fn parts_and_ranks_add_up_in_their_shapes() {
        let mut all = Statistics::default();
        assert!(all.is_empty());
        all.add(part(0.0)).unwrap();
        all.add(part(0.5)).unwrap();
        // Three ranks with the same sums.
        all.sum_by(|flat| -> Result<(), TchError> {
            assert_eq!((flat.kind(), flat.size()), (Kind::Double, vec![5]));
            let _ = flat.g_mul_scalar_(3.0);
            Ok(())
        })
        .unwrap();
        assert_eq!(values(all.get("counts").unwrap()), [7.5, 13.5, 19.5]);
        assert_eq!(
            (values(all.get("rows").unwrap()), all.get("rows").unwrap().size()),
            (vec![60.0, 120.0], vec![2, 1])
        );
        assert!(all.get("row").unwrap_err().to_string().contains("`row`"));
        let mut other = Statistics::default();
        other.put("counts", &Tensor::from(1.0)).unwrap();
        assert!(all.add(other).is_err());
    }

    #[test]
    fn draws_are_distinct_and_a_function_of_the_seed() {
        let draw = |num, wanted, seed| {
            draw_without_replacement(&mut stream(seed, 3, 0, 0, Purpose::Slots), num, wanted)
        };
        for (num, wanted) in [(10, 10), (1000, 30), (3, 9), (0, 4), (1, 1)] {
            let drawn = draw(num, wanted, 7);
            let distinct: BTreeSet<i64> = drawn.iter().copied().collect();
            assert_eq!((drawn.len(), distinct.len()), (num.min(wanted) as usize, drawn.len()));
            assert!(drawn.iter().all(|number| (0..num).contains(number)));
            assert_eq!(drawn, draw(num, wanted, 7));
        }
        assert_ne!(draw(1000, 30, 7), draw(1000, 30, 8));
    }

    #[test]
    fn drawn_rows_are_the_same_however_the_batch_is_cut() {
        let drawn = DrawnSamples::new(vec![3, 0, 3, 5, 9]);
        let rows = Tensor::from_slice(&(0..12).map(f64::from).collect::<Vec<_>>()).view([6, 2]);
        let whole = drawn.rows_of(&rows, &[0, 1, 2, 3, 4, 5]).unwrap();
        let expected =
            [[6.0, 7.0, 1.0], [0.0, 1.0, 1.0], [6.0, 7.0, 1.0], [10.0, 11.0, 1.0], [0.0, 0.0, 0.0]];
        assert_eq!(values(&whole), expected.concat());
        for cut in 0..=6_i64 {
            let positions: Vec<i64> = (0..6).collect();
            let (head, tail) = positions.split_at(cut as usize);
            let sum = drawn.rows_of(&rows.narrow(0, 0, cut), head).unwrap()
                + drawn.rows_of(&rows.narrow(0, cut, 6 - cut), tail).unwrap();
            assert_eq!(values(&sum), values(&whole), "{cut}");
        }
    }

    #[test]
    fn drawn_vectors_are_the_same_however_the_batch_is_cut() {
        // Three samples of two vectors each, the second of which could not be read, and a slot without a vector.
        let drawn = DrawnSamples::new(vec![5, 0, 2, 4, NONE]);
        let rows = Tensor::from_slice(&(0..8).map(f64::from).collect::<Vec<_>>()).view([4, 2]);
        let whole = drawn.vectors_of(&rows, &[0, 2], 2).unwrap();
        let expected = [[6.0, 7.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [4.0, 5.0, 1.0], [0.0; 3]];
        assert_eq!(values(&whole), expected.concat());
        let parts = drawn.vectors_of(&rows.narrow(0, 0, 2), &[0], 2).unwrap()
            + drawn.vectors_of(&rows.narrow(0, 2, 2), &[2], 2).unwrap();
        assert_eq!(values(&parts), values(&whole));
    }
}
