//! x
#![allow(clippy::print_stdout)]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dtrain_configs::compose(&args, &Default::default()) {
        Ok(c) => println!("{:?}\n{}", c.choices, c.render(true)),
        Err(e) => println!("{e}"),
    }
}
