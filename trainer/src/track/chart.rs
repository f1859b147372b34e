//! Bars side by side over names, with axes: for instance how often each class occurs, in two parts of a set.

use super::canvas::{Area, Canvas};
use super::number::{short_number, tick_step};
use super::palette::{BLACK, GRAY, LIGHT_GRAY, Rgb, SERIES, WHITE};
use super::text::{Align, CHAR_WIDTH, LINE_HEIGHT, shortened, text_width};
use super::{Picture, TrackError};

/// Height of the highest bar, in pixels.
const PLOT_HEIGHT: usize = 160;
/// Width that many bars share.
const PLOT_WIDTH: usize = 720;
/// Names are written below all bars up to this number, and below some of them beyond.
const MAX_NAMED: usize = 24;
const MIN_NAMED_WIDTH: usize = 30;
/// Characters of a name below a bar.
const MAX_NAME_CHARS: usize = 14;
const MAX_TICKS: usize = 5;
/// Around everything, and between parts.
const MARGIN: usize = 12;

/// A bar for each group.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Heights, at least 0.
    pub values: Vec<f64>,
}

/// Groups of bars; each group has a bar of each series.
#[derive(Debug, Clone, PartialEq)]
pub struct BarChart {
    /// Above it.
    pub title: String,
    /// What the groups are.
    pub x_label: String,
    /// What the heights are, with their unit.
    pub y_label: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Each has a value for each group.
    pub series: Vec<Series>,
}

/// Where the parts of a chart are.
struct Layout {
    /// Left edge of the bars within the chart.
    left: usize,
    /// Top of the highest possible bar.
    top: usize,
    group_width: usize,
    /// Every how manieth group is named.
    name_step: usize,
    names: Vec<String>,
    /// Distance of two ticks, and the value at the top.
    step: f64,
    max: f64,
}

impl BarChart {
    /// Draws charts below each other.
    ///
    /// # Errors
    /// No charts or no groups, series of other lengths than the groups, more pixels than a picture may have.
    pub fn stacked(charts: &[Self]) -> Result<Picture, TrackError> {
        for chart in charts {
            let (title, num_groups) = (&chart.title, chart.groups.len());
            let is_whole = chart.series.iter().all(|series| series.values.len() == num_groups);
            if num_groups == 0 || !is_whole {
                let reason = format!("chart `{title}`: {num_groups} groups and values of another number");
                return Err(TrackError::Picture { reason });
            }
        }
        let layouts: Vec<Layout> = charts.iter().map(Layout::of).collect();
        let sizes = charts.iter().zip(&layouts).map(|(chart, layout)| layout.size(chart));
        let (width, height) = sizes.clone().fold((0, 0), |(width, height), (more_width, more_height)| {
            (width.max(more_width), height + more_height)
        });
        let mut canvas = Canvas::new(width, height, WHITE)?;
        let mut top = 0;
        for ((chart, layout), (_, height)) in charts.iter().zip(&layouts).zip(sizes) {
            chart.draw(layout, &mut canvas, top);
            top += height;
        }
        canvas.into_picture()
    }

    fn max(&self) -> f64 {
        let values = self.series.iter().flat_map(|series| &series.values);
        values.copied().filter(|value| value.is_finite()).fold(0.0, f64::max)
    }

    fn color(series: usize) -> Rgb {
        SERIES.get(series % SERIES.len()).copied().unwrap_or(BLACK)
    }

    fn draw(&self, layout: &Layout, canvas: &mut Canvas, above: usize) {
        let (left, top) = (layout.left, above + layout.top);
        let bottom = top + PLOT_HEIGHT;
        let width = layout.group_width * self.groups.len();
        canvas.text(left, above + MARGIN, Align::Left, &self.title, BLACK);
        self.draw_legend(canvas, left, above + MARGIN + LINE_HEIGHT);
        let label_bottom = top + (PLOT_HEIGHT + text_width(&self.y_label)) / 2;
        canvas.text_upwards(MARGIN, label_bottom, &self.y_label, GRAY);
        for tick in 0..=(layout.max / layout.step).round() as usize {
            let value = tick as f64 * layout.step;
            let y = bottom - layout.height_of(value);
            canvas.fill(Area { left, top: y, width, height: 1 }, LIGHT_GRAY);
            canvas.text(left - 6, y - LINE_HEIGHT / 2, Align::Right, &short_number(value), GRAY);
        }
        for group in 0..self.groups.len() {
            self.draw_group(layout, canvas, group, bottom);
        }
        canvas.fill(Area { left, top: bottom, width, height: 1 }, BLACK);
        for (group, name) in layout.names.iter().enumerate().step_by(layout.name_step) {
            let x = left + group * layout.group_width + layout.group_width / 2;
            canvas.fill(Area { left: x, top: bottom, width: 1, height: 4 }, BLACK);
            canvas.text(x, bottom + 5, Align::Center, name, BLACK);
        }
        canvas.text(left + width / 2, bottom + 6 + LINE_HEIGHT, Align::Center, &self.x_label, GRAY);
    }

    fn draw_legend(&self, canvas: &mut Canvas, left: usize, top: usize) {
        let mut x = left;
        for (at, series) in self.series.iter().enumerate() {
            canvas.fill(Area { left: x, top: top + 4, width: 9, height: 9 }, Self::color(at));
            canvas.text(x + 14, top, Align::Left, &series.name, BLACK);
            x += 14 + text_width(&series.name) + 3 * CHAR_WIDTH;
        }
    }

    fn draw_group(&self, layout: &Layout, canvas: &mut Canvas, group: usize, bottom: usize) {
        // Wide groups keep a tenth free on either side, narrow ones a pixel between them.
        let gap = if layout.group_width >= 10 { layout.group_width / 10 } else { 0 };
        let num_series = self.series.len().max(1);
        let free = layout.group_width - 2 * gap - usize::from(gap == 0 && layout.group_width > num_series);
        let bar = (free / num_series).max(1);
        let begin = layout.left + group * layout.group_width + (layout.group_width - bar * num_series) / 2;
        for (at, series) in self.series.iter().enumerate() {
            let value = series.values.get(group).copied().filter(|value| value.is_finite()).unwrap_or(0.0);
            let height = layout.height_of(value);
            // What is there at all is seen.
            let height = if value > 0.0 { height.max(1) } else { height };
            canvas.fill(
                Area { left: begin + at * bar, top: bottom - height, width: bar, height },
                Self::color(at),
            );
        }
    }
}

impl Layout {
    fn of(chart: &BarChart) -> Self {
        let num_groups = chart.groups.len();
        let names: Vec<String> = chart.groups.iter().map(|name| shortened(name, MAX_NAME_CHARS)).collect();
        let widest = names.iter().map(|name| text_width(name)).max().unwrap_or(0) + CHAR_WIDTH;
        let least = chart.series.len() + 1;
        let (group_width, name_step) = if num_groups <= MAX_NAMED {
            (widest.max(MIN_NAMED_WIDTH).max(least), 1)
        } else {
            let group_width = (PLOT_WIDTH / num_groups).max(least);
            let groups_per_name = (widest + CHAR_WIDTH).div_ceil(group_width);
            (group_width, tick_step(num_groups as f64, num_groups / groups_per_name).ceil() as usize)
        };
        let max = chart.max();
        let step = tick_step(max, MAX_TICKS);
        let max = step * (max / step - 1e-9).ceil().max(1.0);
        let ticks =
            (0..=MAX_TICKS).map(|tick| text_width(&short_number(tick as f64 * step))).max().unwrap_or(0);
        Self {
            left: MARGIN + LINE_HEIGHT + MARGIN + ticks,
            top: MARGIN + 2 * LINE_HEIGHT + MARGIN,
            group_width,
            name_step: name_step.max(1),
            names,
            step,
            max,
        }
    }

    fn height_of(&self, value: f64) -> usize {
        ((value / self.max).clamp(0.0, 1.0) * PLOT_HEIGHT as f64).round() as usize
    }

    /// Width and height of the whole chart.
    fn size(&self, chart: &BarChart) -> (usize, usize) {
        let bars = self.group_width * self.names.len();
        // The last name may be wider than its bar.
        let right = MARGIN + MAX_NAME_CHARS * CHAR_WIDTH / 2;
        let legend: usize =
            chart.series.iter().map(|series| 14 + text_width(&series.name) + 3 * CHAR_WIDTH).sum();
        let width = bars.max(text_width(&chart.title)).max(text_width(&chart.x_label)).max(legend);
        (self.left + width + right, self.top + PLOT_HEIGHT + 6 + 2 * LINE_HEIGHT + 2 * MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(num_groups: usize, values: &[fn(usize) -> f64]) -> BarChart {
        let series = values.iter().enumerate().map(|(at, value)| Series {
            name: format!("part {at}"),
            values: (0..num_groups).map(value).collect(),
        });
        BarChart {
            title: "digit".into(),
            x_label: "class".into(),
            y_label: "share, %".into(),
            groups: (0..num_groups).map(|group| group.to_string()).collect(),
            series: series.collect(),
        }
    }

    fn canvas_of(chart: &BarChart) -> (Layout, Canvas) {
        let layout = Layout::of(chart);
        let (width, height) = layout.size(chart);
        let mut canvas = Canvas::new(width, height, WHITE).unwrap();
        chart.draw(&layout, &mut canvas, 0);
        (layout, canvas)
    }

    /// Pixels of a colour in each column of the plot.
    fn heights(layout: &Layout, canvas: &Canvas, num_groups: usize, color: Rgb) -> Vec<usize> {
        let columns = layout.left..layout.left + num_groups * layout.group_width;
        let rows = || layout.top..layout.top + PLOT_HEIGHT;
        columns.map(|x| rows().filter(|&y| canvas.pixel(x, y) == Some(color)).count()).collect()
    }

    #[test]
    fn bars_are_as_high_as_their_values() {
        for num_groups in [1, 3, 24, 25, 100, 256, 700] {
            let chart = chart(num_groups, &[|group| (group % 5) as f64, |group| 4.0 - (group % 5) as f64]);
            let (layout, canvas) = canvas_of(&chart);
            for series in 0..2 {
                let heights = heights(&layout, &canvas, num_groups, BarChart::color(series));
                for (group, columns) in heights.chunks(layout.group_width).enumerate() {
                    let value = chart.series[series].values[group];
                    let expected = (value / layout.max * PLOT_HEIGHT as f64).round() as usize;
                    assert_eq!(*columns.iter().max().unwrap(), expected, "{num_groups} {group}");
                }
            }
        }
    }

    #[test]
    fn small_values_are_seen_and_wrong_ones_are_not_drawn() {
        let chart = chart(4, &[|group| [1e-9, 0.0, f64::NAN, 100.0][group]]);
        let (layout, canvas) = canvas_of(&chart);
        let heights = heights(&layout, &canvas, 4, BarChart::color(0));
        let of_groups: Vec<usize> = heights
            .chunks(layout.group_width)
            .map(|columns| columns.iter().copied().max().unwrap())
            .collect();
        assert_eq!(of_groups, [1, 0, 0, PLOT_HEIGHT]);
        BarChart::stacked(&[self::chart(3, &[|_| 0.0])]).unwrap();
    }

    #[test]
    fn names_do_not_run_into_each_other() {
        for num_groups in [2, 24, 25, 60, 256, 1000] {
            let chart = chart(num_groups, &[|_| 1.0, |_| 2.0]);
            let layout = Layout::of(&chart);
            let widest = text_width(&(num_groups - 1).to_string());
            assert!(layout.name_step * layout.group_width > widest, "{num_groups}");
            assert!(layout.group_width * num_groups <= PLOT_WIDTH.max(3 * num_groups), "{num_groups}");
        }
    }

    #[test]
    fn charts_are_stacked_and_checked() {
        let one = BarChart::stacked(&[chart(10, &[|_| 1.0])]).unwrap();
        let two = BarChart::stacked(&[chart(10, &[|_| 1.0]), chart(256, &[|_| 1.0, |_| 3.0])]).unwrap();
        assert!(two.height == 2 * one.height && two.width > one.width);
        assert!(BarChart::stacked(&[]).is_err());
        assert!(BarChart::stacked(&[chart(0, &[])]).is_err());
        let uneven = BarChart { groups: vec!["a".into()], ..chart(2, &[|_| 1.0]) };
        assert!(BarChart::stacked(&[uneven]).unwrap_err().to_string().contains("chart `digit`"));
    }
}
