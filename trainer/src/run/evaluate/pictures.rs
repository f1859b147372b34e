//! Embeddings to look at: pictures of their plane, and the tables that TensorBoard's projector turns about.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;
use crate::eval::{Evaluation, Plane};
use crate::track::{Projector, Scatter};

/// Folder of the projector's files, beside the pictures.
const PROJECTOR: &str = "projector";

/// Writes `embedding_PART_pca.png`, `embedding_PART_tsne.png` and `projector/` into `folder`, which is made if need be, and names the files; where
/// nobody asked for pictures there are none.
///
/// # Errors
/// I/O errors name the file.
pub(super) fn write_pictures(evaluations: &[Evaluation], folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let seen = evaluations.iter().find_map(|evaluation| Some((&evaluation.part, evaluation.plane.as_ref()?)));
    let Some((part, plane)) = seen else { return Ok(Vec::new()) };
    let projector = folder.join(PROJECTOR);
    fs::create_dir_all(&projector)?;
    let mut written = Vec::new();
    for (name, scatter) in scatters(part, plane) {
        let path = folder.join(format!("embedding_{part}_{name}.png"));
        write_atomic(&path, &scatter.picture()?.png)?;
        written.push(path);
    }
    let Plane { rows, columns, cells, .. } = plane;
    written.extend(Projector { name: part, rows, columns, cells }.write(&projector)?);
    Ok(written)
}

/// Each with its word in the file's name.
fn scatters<'a>(part: &str, plane: &'a Plane) -> Vec<(&'static str, Scatter<'a>)> {
    let [first, second] = plane.explained.map(|share| 100.0 * share);
    let (shown, all) = (plane.rows.len(), plane.part_samples);
    let samples = if shown == all { format!("{all}") } else { format!("{shown} of {all}") };
    let scatter =
        |title: String, points: &'a [[f64; 2]]| Scatter { title, points, colorings: &plane.colorings };
    let along = format!(
        "{part}: {samples} embeddings along two principal components ({first:.0} % and {second:.0} % of the variance)"
    );
    let mut all = vec![("pca", scatter(along, &plane.principal))];
    if let Some(points) = &plane.neighbours {
        all.push((
            "tsne",
            scatter(
                format!("{part}: {samples} embeddings by t-SNE (near means alike, far says little)"),
                points,
            ),
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::Coloring;

    fn plane(neighbours: bool) -> Plane {
        let places = vec![[0.0, 1.0], [2.0, -1.0], [1.0, 0.5]];
        let of_point = vec![Some(0), Some(1), None];
        let groups = vec!["koel".to_owned(), "rook".to_owned()];
        Plane {
            part_samples: 30,
            rows: vec![vec![0.0; 4]; 3],
            principal: places.clone(),
            explained: [0.6, 0.25],
            neighbours: neighbours.then_some(places),
            colorings: vec![Coloring { name: "species".into(), groups, of_point }],
            columns: vec!["file".into(), "species".into()],
            cells: vec![vec!["a".into(), "koel".into()]; 3],
        }
    }

    #[test]
    fn pictures_and_tables_of_the_part_that_is_reported_on_are_written() {
        for (neighbours, expected) in [
            (true, &["embedding_test_pca.png", "embedding_test_tsne.png"][..]),
            (false, &["embedding_test_pca.png"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let with =
                Evaluation { part: "test".into(), plane: Some(plane(neighbours)), ..Evaluation::default() };
            let written = write_pictures(&[Evaluation::default(), with], &dir.path().join("new")).unwrap();
            let names: Vec<_> =
                written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
            let tables = ["tensors.tsv", "metadata.tsv", "projector_config.pbtxt"];
            assert_eq!(names, [expected, &tables].concat());
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(write_pictures(&[Evaluation::default()], &dir.path().join("none")).unwrap().is_empty());
        assert!(!dir.path().join("none").exists());
    }

    #[test]
    fn a_title_says_how_many_of_how_many() {
        let plane = plane(true);
        let titles: Vec<String> =
            scatters("test", &plane).into_iter().map(|(_, scatter)| scatter.title).collect();
        assert_eq!(
            titles[0],
            "test: 3 of 30 embeddings along two principal components (60 % and 25 % of the variance)"
        );
    }
}
