//! Whether the work grows with the input and no faster: counts the comparisons that the code makes, all crates but the standard
//! library's own, for an input and for one of twice the size. Counts, not times: each run says the same.
//!
//! Built with the flags of the fuzz targets, which have every comparison call one of the functions below.

use std::cell::Cell;
use std::process::ExitCode;

use activation_operator_fuzz::shapes::{SHAPES, Shape};

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

fn step() {
    STEPS.with(|steps| steps.set(steps.get().wrapping_add(1)));
}

/// What the instrumented code calls; the values that are compared do not matter here.
macro_rules! counted {
    ($($name:ident($($kind:ty),*);)*) => {
        $(#[unsafe(no_mangle)] extern "C" fn $name($(_: $kind),*) { step(); })*
    };
}

counted! {
    __sanitizer_cov_trace_cmp1(u8, u8);
    __sanitizer_cov_trace_cmp2(u16, u16);
    __sanitizer_cov_trace_cmp4(u32, u32);
    __sanitizer_cov_trace_cmp8(u64, u64);
    __sanitizer_cov_trace_const_cmp1(u8, u8);
    __sanitizer_cov_trace_const_cmp2(u16, u16);
    __sanitizer_cov_trace_const_cmp4(u32, u32);
    __sanitizer_cov_trace_const_cmp8(u64, u64);
    __sanitizer_cov_trace_switch(u64, usize);
}

#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(_: usize, _: usize) {}
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_pcs_init(_: usize, _: usize) {}
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_pc_indir(_: usize) {}

fn main() -> ExitCode {
    let mut failed = false;
    for Shape { name, target, make, size } in SHAPES {
        // Warm, and large enough that what is done once does not count.
        let [once, twice] = [4 * size, 8 * size].map(make);
        target(&make(size));
        let [first, second] = [&once, &twice].map(|input| {
            STEPS.with(|steps| steps.set(0));
            target(input);
            STEPS.with(Cell::get)
        });
        let grown = second as f64 / first as f64;
        let per_byte = second as f64 / twice.len() as f64;
        println!("{grown:5.2} times the work for twice the size, {per_byte:7.1} steps a byte: {name}");
        // One that counts nothing would always be well.
        if grown > 2.3 || first < once.len() as u64 / 64 {
            println!("      ^ too much, or nothing counted");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
