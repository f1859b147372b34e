//! `dtrain verify device`.

use comfy_table::{Cell, CellAlignment, Table, presets};
use dtrain_configs::schema::DeviceChoice;
use dtrain_front::cli::{DeviceName, PrecisionName, VerifyDeviceArgs};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::TrainError;
use dtrain_trainer::verify::{DeviceFigures, DevicePrecision, DeviceRequest, DeviceRow, Quantity, device};

use crate::failure::Failure;
use crate::logging;

/// Compares a device with the CPU in 64 bits and prints a table. Exit code 1 where something is beyond its tolerance.
pub fn run(args: &VerifyDeviceArgs, printer: &Printer) -> Result<Exit, Failure> {
    logging::install(printer.rank());
    let request = DeviceRequest {
        device: match args.device {
            DeviceName::Auto => DeviceChoice::Auto,
            DeviceName::Cpu => DeviceChoice::Cpu,
            DeviceName::Cuda => DeviceChoice::Cuda,
        },
        precisions: precisions(&args.precision),
        quick: args.quick,
    };
    let figures = device(&request, &|check| tracing::info!("{check}"))?;
    if let Some(path) = args.json.as_ref().filter(|_| printer.speaks()) {
        let text = serde_json::to_string_pretty(&figures)
            .map_err(|e| Failure::agreed(Exit::Failed, format!("figures cannot be written: {e}"), None))?;
        fs_err::write(path, text + "\n").map_err(TrainError::from)?;
    }
    printer.data(&table(&figures.rows));
    printer.data(&summary(&figures));
    Ok(if figures.num_beyond == 0 { Exit::Done } else { Exit::Failed })
}

/// Each once, in the order typed.
fn precisions(names: &[PrecisionName]) -> Vec<DevicePrecision> {
    let mut precisions = Vec::new();
    for name in names {
        let precision = match name {
            PrecisionName::Fp32 => DevicePrecision::Fp32,
            PrecisionName::Tf32 => DevicePrecision::Tf32,
            PrecisionName::Bf16 => DevicePrecision::Bf16,
            PrecisionName::Fp16 => DevicePrecision::Fp16,
        };
        if !precisions.contains(&precision) {
            precisions.push(precision);
        }
    }
    precisions
}

/// One line per check and precision. An error that is too large is followed by what would pass.
fn table(rows: &[DeviceRow]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["check", "precision", "output", "gradient", "worst tensor", "verdict"]);
    for group in rows.chunk_by(|a, b| (&a.check, a.precision) == (&b.check, b.precision)) {
        let Some(first) = group.first() else { continue };
        let cell = |quantity: Quantity| match group.iter().find(|row| row.quantity == quantity) {
            Some(row) => Cell::new(error(row)).set_alignment(CellAlignment::Right),
            None => Cell::new(""),
        };
        let outputs = if first.quantity == Quantity::Bits { Quantity::Bits } else { Quantity::Output };
        table.add_row([
            Cell::new(&first.check),
            Cell::new(first.precision.name()),
            cell(outputs),
            cell(Quantity::Gradient),
            cell(Quantity::WorstTensor),
            Cell::new(verdict(group)),
        ]);
    }
    table.to_string()
}

fn error(row: &DeviceRow) -> String {
    let error = match row.quantity {
        Quantity::Bits if row.passed => "equal".to_owned(),
        Quantity::Bits => format!("{} differ", row.error),
        Quantity::Output | Quantity::Gradient | Quantity::WorstTensor => format!("{:.1e}", row.error),
    };
    if row.passed || row.quantity == Quantity::Bits {
        error
    } else {
        format!("{error} > {:.1e}", row.tolerance)
    }
}

fn verdict(group: &[DeviceRow]) -> String {
    match group.iter().find(|row| !row.passed) {
        None => "ok".to_owned(),
        Some(DeviceRow { tensor: Some(tensor), .. }) => format!("BEYOND: `{tensor}`"),
        Some(_) => "BEYOND".to_owned(),
    }
}

fn summary(figures: &DeviceFigures) -> String {
    let (num_rows, device) = (figures.rows.len(), &figures.device);
    let zero = match figures.zero_by_construction.len() {
        0 => String::new(),
        n => format!("; {n} gradients are zero by construction and judged as part of the vector only"),
    };
    match figures.num_beyond {
        0 => format!("{device}: all {num_rows} comparisons within tolerance{zero}"),
        beyond => format!("{device}: {beyond} of {num_rows} comparisons beyond tolerance{zero}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(check: &str, quantity: Quantity, error: f64) -> DeviceRow {
        DeviceRow {
            check: check.to_owned(),
            precision: DevicePrecision::Bf16,
            quantity,
            error,
            tolerance: 0.02,
            yardstick: 0.0,
            tensor: (quantity == Quantity::WorstTensor).then(|| "fc.weight".to_owned()),
            passed: error <= 0.02,
        }
    }

    #[test]
    fn a_check_is_one_line_that_names_what_is_beyond() {
        let rows = [
            row("model", Quantity::Output, 0.001),
            row("model", Quantity::Gradient, 0.002),
            row("model", Quantity::WorstTensor, 0.5),
            row("steps", Quantity::Bits, 3.0),
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("bf16")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("5.0e-1 > 2.0e-2") && lines[0].contains("BEYOND: `fc.weight`"), "{text}");
        assert!(lines[1].contains("3 differ") && lines[1].contains("BEYOND"), "{text}");
    }

    #[test]
    fn precisions_are_checked_once_each() {
        let typed = [PrecisionName::Bf16, PrecisionName::Fp32, PrecisionName::Bf16];
        assert_eq!(precisions(&typed), [DevicePrecision::Bf16, DevicePrecision::Fp32]);
    }
}
