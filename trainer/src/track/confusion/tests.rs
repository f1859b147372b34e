use super::*;

fn names(num: usize) -> Vec<String> {
    (0..num).map(|class| format!("class {class}")).collect()
}

fn drawn(counts: &[u64], class_names: &[String]) -> (Layout, Canvas) {
    Confusion { head: "digit", counts, class_names }.draw().unwrap()
}

/// The colour of a cell's corner, where no text is.
fn corner(layout: &Layout, canvas: &Canvas, row: usize, column: usize) -> [u8; 3] {
    let area = layout.cell_at(row, column);
    canvas.pixel(area.left, area.top).unwrap()
}

#[test]
fn a_colour_is_the_share_of_its_row() {
    for num_classes in [2, 12, 13, 20, 21, 40, 41, 100, 256, 1000] {
        let mut counts = vec![0; num_classes * num_classes];
        counts[0] = 30;
        counts[1] = 10;
        counts[num_classes] = 7_000;
        let (layout, canvas) = drawn(&counts, &[]);
        let at = |row, column| corner(&layout, &canvas, row, column);
        assert_eq!([at(0, 0), at(0, 1)], [blues(0.75), blues(0.25)], "{num_classes}");
        assert_eq!([at(1, 0), at(1, 1)], [blues(1.0), blues(0.0)], "{num_classes}");
        let last = num_classes - 1;
        let nothing = if num_classes > 2 { LIGHT_GRAY } else { blues(0.0) };
        assert_eq!(at(last, last), nothing, "a row without samples: {num_classes}");
    }
}

#[test]
fn many_classes_have_colours_up_to_the_largest_share() {
    for (num_classes, expected) in [(20, [0.4, 0.2]), (21, [1.0, 0.5])] {
        let mut counts = vec![0; num_classes * num_classes];
        (counts[0], counts[1], counts[2], counts[3]) = (40, 20, 20, 20);
        let (layout, canvas) = drawn(&counts, &[]);
        let found = [0, 1].map(|column| corner(&layout, &canvas, 0, column));
        assert_eq!(found, expected.map(blues), "{num_classes}");
    }
    let (layout, _) = drawn(&[0; 900], &[]);
    assert_eq!(layout.darkest, 1.0);
}

#[test]
fn rows_are_true_and_columns_predicted() {
    let (layout, canvas) = drawn(&[0, 5, 0, 5], &[]);
    assert_eq!(corner(&layout, &canvas, 0, 1), blues(1.0));
    assert_eq!(corner(&layout, &canvas, 1, 0), blues(0.0));
    let confusion = Confusion { head: "x", counts: &[0, 5, 0, 5], class_names: &[] };
    assert_eq!((confusion.hits(), confusion.title()), ((5, 10), "x: accuracy 50.00 % of 10".into()));
    assert_eq!(Confusion { counts: &[0; 4], ..confusion }.title(), "x: no samples");
}

#[test]
fn cells_have_numbers_where_there_is_room() {
    let inked = |num_classes: usize| {
        let (layout, canvas) = drawn(&vec![1; num_classes * num_classes], &[]);
        let area = layout.cell_at(0, 0);
        let points = (area.left..area.left + area.width)
            .flat_map(|x| (area.top..area.top + area.height).map(move |y| (x, y)));
        points.filter(|&(x, y)| canvas.pixel(x, y) != Some(corner(&layout, &canvas, 0, 0))).count()
    };
    assert!(inked(12) > inked(13) && inked(13) > 0 && inked(20) > 0);
    assert_eq!([inked(21), inked(256)], [0, 0]);
}

#[test]
fn the_widest_texts_fit_their_cells() {
    for num_classes in [MAX_WITH_COUNTS, MAX_WITH_SHARES] {
        let layout = Layout::new(num_classes, &[]);
        for count in [1, 9_999_999, 10_000_000, 9_999_999_999, u64::MAX] {
            assert!(text_width(&compact(count)) <= 8 * CHAR_WIDTH, "{}", compact(count));
        }
        assert!(text_width("100") < layout.cell.0 && text_width("100 %") < 8 * CHAR_WIDTH);
    }
    let written = [1.0, 0.996, 0.994, 0.006, 0.004].map(whole_percent);
    assert_eq!(written, ["100", ">99", "99", "1", "<1"]);
}

#[test]
fn many_classes_have_ticks_and_a_picture_that_can_be_looked_at() {
    for num_classes in [41, 100, 256] {
        let layout = Layout::new(num_classes, &names(num_classes));
        let named = layout.named();
        assert!((5..=MAX_TICKS + 1).contains(&named.len()), "{num_classes}: {named:?}");
        let spacing = (named[1].0 - named[0].0) * layout.cell.0;
        assert!(spacing > text_width("256"), "{num_classes}");
        let counts = vec![1; num_classes * num_classes];
        let picture = Confusion { head: "x", counts: &counts, class_names: &[] }.picture().unwrap();
        assert!((500..1000).contains(&picture.width) && (500..1000).contains(&picture.height));
    }
}

#[test]
fn names_turn_where_they_are_wider_than_cells() {
    assert!(!Layout::new(10, &[]).names_upright);
    assert!(!Layout::new(10, &names(10)).names_upright);
    assert!(Layout::new(11, &names(11)).names_upright, "`class 10` is as wide as a cell");
    assert!(!Layout::new(20, &[]).names_upright);
    assert!(Layout::new(20, &names(20)).names_upright);
    let long = vec!["x".repeat(500); 3];
    let (_, canvas) = drawn(&[1; 9], &long);
    assert!(canvas.width() < 600 && canvas.height() < 600);
}

#[test]
fn wrong_shapes_are_refused_by_name() {
    let error = |counts: &[u64], class_names: &[String]| {
        Confusion { head: "digit", counts, class_names }.picture().unwrap_err().to_string()
    };
    assert_eq!(error(&[], &[]), "picture: confusion of `digit`: 0 counts are no matrix of 1 to 4096 classes");
    assert!(error(&[1; 8], &[]).contains("8 counts"));
    assert!(error(&[1; 9], &names(2)).ends_with("2 names for 3 classes"));
    assert!(error(&vec![0; 4097 * 4097], &[]).contains("are no matrix"));
    drawn(&[1], &[]);
}
