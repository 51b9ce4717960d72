//! Texts that differ: short reports of a works, each made of its number. The same number gives the same
//! text, so that a round can be repeated.

const NAMES: [&str; 16] = [
    "Amara", "Bruno", "Chiara", "Dmitri", "Elena", "Farid", "Greta", "Hiroshi", "Ines", "Jonas",
    "Kavya", "Liang", "Marta", "Nils", "Oksana", "Pedro",
];
const THINGS: [&str; 16] = [
    "pump",
    "conveyor",
    "furnace",
    "boiler",
    "crane",
    "turbine",
    "compressor",
    "press",
    "lathe",
    "centrifuge",
    "transformer",
    "elevator",
    "mixer",
    "kiln",
    "condenser",
    "generator",
];
const PLACES: [&str; 16] = [
    "the north hall",
    "the harbour depot",
    "the paint shop",
    "the old foundry",
    "the cold store",
    "the east annex",
    "the laboratory",
    "the assembly line",
    "the loading bay",
    "the archive",
    "the quarry",
    "the dye works",
    "the greenhouse",
    "the print room",
    "the boiler house",
    "the test track",
];
const FAULTS: [&str; 16] = [
    "a cracked bearing",
    "a leaking valve",
    "a worn gasket",
    "a loose coupling",
    "a burnt fuse",
    "a bent shaft",
    "a clogged filter",
    "a frayed cable",
    "a stuck relay",
    "a rusty hinge",
    "a torn membrane",
    "a broken sensor",
    "a noisy gearbox",
    "a cracked housing",
    "a slipping belt",
    "a blocked nozzle",
];
const ENDS: [&str; 16] = [
    "was replaced overnight",
    "waits for a spare part from Rotterdam",
    "was welded on Tuesday",
    "must be inspected again in spring",
    "was reported to the insurer",
    "cost less than expected",
    "delayed the shipment by two days",
    "was found by an apprentice",
    "had been painted over for years",
    "will be covered by the warranty",
    "needs a second opinion",
    "was repaired by the supplier",
    "stopped the night shift",
    "was photographed for the file",
    "came back after a week",
    "is watched by a camera now",
];

/// What was found out.
pub(crate) fn fact(n: u64) -> String {
    let [name, thing, place, fault, end] = parts(n);
    format!(
        "{name} looked at {thing} {n} in {place} and found {fault}. It {end}, and order {} was \
         closed.",
        n.wrapping_mul(7_919) % 1_000_003
    )
}

/// What is asked before it is known.
pub(crate) fn question(n: u64) -> String {
    let [name, thing, place, ..] = parts(n);
    format!("What did {name} find out about {thing} {n} in {place}?")
}

fn parts(n: u64) -> [&'static str; 5] {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let word = |words: &[&'static str; 16], at: u32| {
        words.get((mixed >> at & 15) as usize).copied().unwrap_or_default()
    };
    [word(&NAMES, 60), word(&THINGS, 52), word(&PLACES, 44), word(&FAULTS, 36), word(&ENDS, 28)]
}
