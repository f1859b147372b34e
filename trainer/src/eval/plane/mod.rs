//! Embeddings in two dimensions, to look at: by principal components, which are a view of them from one side, and by t-SNE, which
//! keeps neighbours together and nothing else. Of the part that is reported on, in an evaluation in full.
//!
//! Of a large part some samples are drawn by class. Their rows are put in the order of their ids, so that a plane does not depend
//! on the number of ranks; rank 0 makes it.

mod pca;
mod tsne;

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::EvalConfig;
use dtrain_data::{Dataset, LabelColumn, draw_by_class};
use tch::{Kind, Tensor};

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Subject};
use super::{Evaluation, Thoroughness, room};
use crate::engine::{gather_i64, gather_rows};
use crate::error::TrainError;
use crate::track::Coloring;
use pca::principal_components;
use tsne::neighbour_embedding;

/// What was seen of some samples of a part.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Samples of the part, of which these are some or all.
    pub part_samples: usize,
    /// The embeddings, each of as many numbers.
    pub rows: Vec<Vec<f32>>,
    /// Along the two principal components.
    pub principal: Vec<[f64; 2]>,
    /// Shares of the variance that lie along them.
    pub explained: [f64; 2],
    /// By t-SNE, where that was asked and there are samples enough.
    pub neighbours: Option<Vec<[f64; 2]>>,
    /// What pictures are coloured by: the class, and the recording where it is known.
    pub colorings: Vec<Coloring>,
    /// Names of columns, and the cells of each sample: what it is called, then its labels.
    pub columns: Vec<String>,
    /// Of each row.
    pub cells: Vec<Vec<String>>,
}

/// Makes the plane of the part that is reported on.
pub(super) struct Planes<'a> {
    config: &'a EvalConfig,
    dataset: &'a Dataset,
    target: &'a str,
    recording: Option<&'a str>,
    seed: u64,
}

impl<'a> Planes<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        let columns = subject.losses.columns;
        Self {
            config: subject.config,
            dataset: subject.dataset,
            target: columns.target,
            recording: columns.recording,
            seed: subject.losses.seed,
        }
    }

    fn is_asked(&self, thoroughness: Thoroughness) -> bool {
        self.config.pictures.enabled && self.config.embeddings && thoroughness.train
    }

    /// Rows of all ranks among those that are drawn of `read`, with their samples, in the order of ids.
    fn drawn(&self, read: &Conclusion<'_>) -> Result<(Tensor, Vec<u32>), TrainError> {
        let classes = self.dataset.label(self.target).map_or(&[][..], |label| &label.of_sample);
        let mut drawn =
            draw_by_class(read.ids, classes, self.config.pictures.max_points, self.seed).into_owned();
        drawn.sort_unstable();
        let is_drawn = |(_, id): &(i64, &u32)| drawn.binary_search(id).is_ok();
        let own: Vec<(i64, &u32)> = (0i64..).zip(&read.part.ids).filter(is_drawn).collect();
        let (places, ids): (Vec<i64>, Vec<i64>) =
            own.into_iter().map(|(place, &id)| (place, i64::from(id))).unzip();
        let collective = &**read.engine.collective();
        let per_rank = collective.all_gather_usize(ids.len())?;
        let rows = read.part.embeddings.f_index_select(0, &Tensor::from_slice(&places)).map_err(room)?;
        let rows = gather_rows(collective, &rows.f_to_kind(Kind::Double).map_err(room)?, &per_rank)?;
        let ids = gather_i64(collective, &ids, &per_rank)?;
        let mut order: Vec<(u32, i64)> = ids
            .iter()
            .zip(0i64..)
            .filter_map(|(&id, place)| Some((u32::try_from(id).ok()?, place)))
            .collect();
        order.sort_unstable();
        let (ids, places): (Vec<u32>, Vec<i64>) = order.into_iter().unzip();
        Ok((rows.f_index_select(0, &Tensor::from_slice(&places)).map_err(room)?, ids))
    }

    fn plane(&self, rows: &Tensor, ids: &[u32], part_samples: usize) -> Result<Plane, TrainError> {
        let (principal, explained) = principal_components(rows)?;
        let neighbours = match self.config.pictures.tsne {
            true => neighbour_embedding(rows, &principal)?,
            false => None,
        };
        let labels = || self.dataset.labels.iter();
        let coloring = |label: &LabelColumn| coloring(label, ids);
        let mut colorings: Vec<Coloring> =
            self.dataset.label(self.target).map(coloring).into_iter().collect();
        let recording = self.recording.filter(|name| *name != self.target);
        colorings.extend(recording.and_then(|name| self.dataset.label(name)).map(coloring));
        if colorings.is_empty() {
            let of_point = vec![None; ids.len()];
            colorings.push(Coloring { name: "nothing that is known".into(), groups: Vec::new(), of_point });
        }
        let names = labels().map(|label| label.name.clone());
        let columns = std::iter::once(self.dataset.source.noun().to_owned()).chain(names).collect();
        let cells = |&id: &u32| {
            let of_labels = labels().map(|label| label.class_name(id).unwrap_or_default().to_owned());
            std::iter::once(self.dataset.name_of(id).unwrap_or_default()).chain(of_labels).collect()
        };
        Ok(Plane {
            part_samples,
            rows: Vec::<Vec<f32>>::try_from(rows.f_to_kind(Kind::Float).map_err(room)?)?,
            principal,
            explained,
            neighbours,
            colorings,
            columns,
            cells: ids.iter().map(cells).collect(),
        })
    }
}

/// Groups are the classes that occur.
fn coloring(label: &LabelColumn, ids: &[u32]) -> Coloring {
    let counts = label.counts(ids);
    let mut group_of: Vec<Option<usize>> = vec![None; counts.len()];
    let mut groups = Vec::new();
    for ((class, count), group) in label.classes.iter().zip(counts).zip(&mut group_of) {
        if count > 0 {
            *group = Some(groups.len());
            groups.push(class.clone());
        }
    }
    let group = |&id: &u32| {
        let class = label.of_sample.get(id as usize).copied().flatten()?;
        group_of.get(class as usize).copied().flatten()
    };
    Coloring { name: label.name.clone(), groups, of_point: ids.iter().map(group).collect() }
}

impl Evaluator for Planes<'_> {
    /// None: a plane is looked at.
    fn metrics(&self, _: &str, _: Thoroughness) -> Vec<String> {
        Vec::new()
    }

    fn asks(&self, role: Role, thoroughness: Thoroughness) -> Asks {
        Asks { embeddings: role == Role::Examined && self.is_asked(thoroughness), ..Asks::default() }
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        if !self.is_asked(read.thoroughness) || !evaluation.is_reported {
            return Ok(Vec::new());
        }
        let (rows, ids) = self.drawn(read)?;
        if read.engine.collective().world().rank == 0 && !ids.is_empty() {
            evaluation.plane = Some(self.plane(&rows, &ids, read.ids.len())?);
        }
        Ok(Vec::new())
    }
}
