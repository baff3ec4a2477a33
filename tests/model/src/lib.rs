//! The commit protocol of one table's log as a state machine, small enough to look at every interleaving (contract C3 to C9).
//!
//! Two writers append one batch each over a store with put-if-absent. A PUT may land and be answered, land unanswered, never
//! land, or land long after its writer stopped waiting; reading back may fail; a writer may die or stall at any step for as
//! long as it likes. Beside them a checkpointer folds the log, and a vacuum, which Coverline does not have yet, deletes files
//! and, where [`Rules::deletes_slots`], record slots below the checkpoint. [`Rules`] are the guards: the tests show that the
//! protocol holds with them, and that the checker finds the bug when one is taken away, so that it is known to look.
//!
//! What is left out: the content of records (frames, digests), recovery, and several tables. Those have tests of their own.

use stateright::{Model, Property};

/// Writers, one append each.
const WRITERS: usize = 2;

/// Record slots: one for each append and for the vacuum.
const SLOTS: usize = 3;

/// Vacuum runs at most.
const VACUUMS_MAX: u8 = 1;

/// A set of appends, a bit each. The file of an append has its bit too.
type Appends = u8;

/// Which guards are in force.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether both appends cover the same pair, so that one has to be refused.
    pub same_pair: bool,
    /// C5: a writer that finds its slot taken looks whether the record in it is its own.
    pub recognises_itself: bool,
    /// C9: whether the vacuum deletes record slots at or below the checkpoint. Coverline never does.
    pub deletes_slots: bool,
    /// C9: a writer proves after publishing that its slot lies above the checkpoint, or that the checkpoint has its append.
    pub proves_slot: bool,
    /// C9: the vacuum takes a version before it deletes files that no record names, so that whoever planned for that slot
    /// plans again.
    pub vacuum_takes_a_version: bool,
    /// C9: the vacuum's record says which files it deletes, and a writer that plans again gives up when its own is among
    /// them. To look whether the file is still there is not enough: it may be deleted a moment later.
    pub vacuum_names_files: bool,
    /// C3: after an unknown outcome the writer leaves its file alone.
    pub keeps_files_when_unknown: bool,
}

impl Rules {
    /// The protocol as it is built, and as the vacuum will have to be.
    pub fn shipped(same_pair: bool) -> Self {
        Self {
            same_pair,
            recognises_itself: true,
            deletes_slots: false,
            proves_slot: false,
            vacuum_takes_a_version: true,
            vacuum_names_files: true,
            keeps_files_when_unknown: true,
        }
    }

    /// The same, with a vacuum that also deletes record slots.
    pub fn deleting_slots(same_pair: bool) -> Self {
        Self { deletes_slots: true, proves_slot: true, ..Self::shipped(same_pair) }
    }
}

/// What is in a record slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Nothing, or no longer anything.
    Free,
    /// The append of a writer.
    Append(usize),
    /// A vacuum that is about to delete files.
    Vacuum,
}

/// How far a writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing done.
    Fresh,
    /// Its file is durable.
    Staged,
    /// It has looked at the log and is about to PUT its record into this slot.
    Planned(usize),
    /// It has no usable answer to that PUT.
    Unsure(usize),
    /// It believes that its record is in this slot.
    Published(usize),
    /// Answered: committed.
    Acked,
    /// Answered: not committed, and never will be.
    Refused,
    /// Answered: nobody knows.
    Unknown,
    /// Dead before it answered.
    Dead,
}

/// The store, and everybody who uses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    slots: [Slot; SLOTS],
    /// Slots below this index are folded into the checkpoint.
    floor: usize,
    /// Appends in the checkpoint.
    folded: Appends,
    /// Files that exist.
    files: Appends,
    /// Files that are old enough for the vacuum.
    aged: Appends,
    writers: [Phase; WRITERS],
    /// PUTs whose writers stopped waiting, and which may still land.
    in_flight: [Option<usize>; WRITERS],
    vacuums: u8,
    /// Files that a vacuum has announced and not deleted yet.
    doomed: Appends,
    /// All files that a vacuum ever announced, as its records and the checkpoint say.
    condemned: Appends,
    /// How often each append got into the log: nobody in the model can see this.
    landed: [u8; WRITERS],
}

/// One step of anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A writer makes its file durable.
    Stage(usize),
    /// A writer looks at the log and decides.
    Plan(usize),
    /// A writer PUTs its record, and this comes of it.
    Put(usize, Fate),
    /// A PUT lands that its writer no longer waits for.
    Land(usize),
    /// A writer reads its slot back.
    ReadBack(usize),
    /// Reading back fails, and the writer gives up.
    GiveUp(usize),
    /// A writer answers its client.
    Answer(usize),
    /// A writer dies.
    Die(usize),
    /// Days pass.
    Age,
    /// The log is folded into a checkpoint.
    Checkpoint,
    /// The vacuum takes a version, and may delete from then on what is old and named by nobody.
    Announce,
    /// The vacuum deletes files.
    DeleteFiles,
    /// The vacuum deletes the slots below the checkpoint.
    DeleteSlots,
}

/// What comes of a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is decided and the writer hears of it.
    Answered,
    /// It lands if the slot is free, and the answer is lost.
    AnswerLost,
    /// It never reaches the store.
    Lost,
    /// It reaches the store later.
    Delayed,
}

fn bit(writer: usize) -> Appends {
    1 << writer
}

impl World {
    /// Index of the slot after the newest version: the first free one above the checkpoint.
    fn next_slot(&self) -> usize {
        (self.floor..SLOTS).find(|slot| self.slots[*slot] == Slot::Free).unwrap_or(SLOTS)
    }

    /// Appends that a reader sees.
    fn visible(&self) -> Appends {
        let log = self.slots[self.floor..self.next_slot()].iter();
        log.fold(self.folded, |seen, slot| match slot {
            Slot::Append(writer) => seen | bit(*writer),
            Slot::Free | Slot::Vacuum => seen,
        })
    }

    /// Put-if-absent.
    fn put(&mut self, slot: usize, writer: usize) -> bool {
        if self.slots[slot] != Slot::Free {
            return false;
        }
        self.slots[slot] = Slot::Append(writer);
        // More than twice is no worse, and would make the model endless where slots are deleted.
        self.landed[writer] = (self.landed[writer] + 1).min(2);
        true
    }

    fn plan(&mut self, writer: usize, rules: &Rules) {
        let owned = rules.same_pair && self.visible() & !bit(writer) != 0;
        let gone = match rules.vacuum_names_files {
            true => self.condemned,
            false => !self.files,
        };
        let lost_its_file = rules.vacuum_takes_a_version && gone & bit(writer) != 0;
        self.writers[writer] = match self.next_slot() {
            _ if owned || lost_its_file => Phase::Refused,
            // The model has no more room; the writer waits for ever.
            SLOTS => Phase::Staged,
            slot => Phase::Planned(slot),
        };
    }

    fn read_back(&mut self, writer: usize, slot: usize, rules: &Rules) {
        self.writers[writer] = match self.slots[slot] {
            Slot::Append(owner) if owner == writer && rules.recognises_itself => {
                Phase::Published(slot)
            }
            Slot::Free => Phase::Planned(slot),
            Slot::Append(_) | Slot::Vacuum => Phase::Staged,
        };
    }

    fn answer(&mut self, writer: usize, slot: usize, rules: &Rules) {
        let proven = slot >= self.floor || self.folded & bit(writer) != 0;
        self.writers[writer] = match proven || !rules.proves_slot {
            true => Phase::Acked,
            false => Phase::Refused,
        };
    }

    /// Files that no version names and that are old.
    fn garbage(&self) -> Appends {
        self.files & self.aged & !self.visible()
    }

    fn answered(&self, phase: Phase) -> impl Iterator<Item = usize> + '_ {
        (0..WRITERS).filter(move |writer| self.writers[*writer] == phase)
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            slots: [Slot::Free; SLOTS],
            floor: 0,
            folded: 0,
            files: 0,
            aged: 0,
            writers: [Phase::Fresh; WRITERS],
            in_flight: [None; WRITERS],
            vacuums: 0,
            doomed: 0,
            condemned: 0,
            landed: [0; WRITERS],
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for writer in 0..WRITERS {
            match world.writers[writer] {
                Phase::Fresh => steps.push(Step::Stage(writer)),
                Phase::Staged => steps.push(Step::Plan(writer)),
                Phase::Planned(_) => {
                    let fates = [Fate::Answered, Fate::AnswerLost, Fate::Lost];
                    steps.extend(fates.map(|fate| Step::Put(writer, fate)));
                    if world.in_flight[writer].is_none() {
                        steps.push(Step::Put(writer, Fate::Delayed));
                    }
                }
                Phase::Unsure(_) => steps.extend([Step::ReadBack(writer), Step::GiveUp(writer)]),
                Phase::Published(_) => steps.push(Step::Answer(writer)),
                Phase::Acked | Phase::Refused | Phase::Unknown | Phase::Dead => {}
            }
            if !matches!(
                world.writers[writer],
                Phase::Fresh | Phase::Acked | Phase::Refused | Phase::Unknown | Phase::Dead
            ) {
                steps.push(Step::Die(writer));
            }
            if world.in_flight[writer].is_some() {
                steps.push(Step::Land(writer));
            }
        }
        if world.files & !world.aged != 0 {
            steps.push(Step::Age);
        }
        if world.next_slot() > world.floor {
            steps.push(Step::Checkpoint);
        }
        if world.garbage() != 0 && world.vacuums < VACUUMS_MAX && world.doomed == 0 {
            steps.push(Step::Announce);
        }
        if world.doomed != 0 {
            steps.push(Step::DeleteFiles);
        }
        if self.deletes_slots && world.slots[..world.floor].iter().any(|slot| *slot != Slot::Free) {
            steps.push(Step::DeleteSlots);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        match step {
            Step::Stage(writer) => {
                next.files |= bit(writer);
                next.writers[writer] = Phase::Staged;
            }
            Step::Plan(writer) => next.plan(writer, self),
            Step::Put(writer, fate) => {
                let Phase::Planned(slot) = world.writers[writer] else { return None };
                next.writers[writer] = Phase::Unsure(slot);
                match fate {
                    Fate::Answered => {
                        if next.put(slot, writer) {
                            next.writers[writer] = Phase::Published(slot);
                        }
                    }
                    Fate::AnswerLost => {
                        next.put(slot, writer);
                    }
                    Fate::Lost => {}
                    Fate::Delayed => next.in_flight[writer] = Some(slot),
                }
            }
            Step::Land(writer) => {
                let slot = next.in_flight[writer].take()?;
                next.put(slot, writer);
            }
            Step::ReadBack(writer) => {
                let Phase::Unsure(slot) = world.writers[writer] else { return None };
                next.read_back(writer, slot, self);
            }
            Step::GiveUp(writer) => {
                next.writers[writer] = Phase::Unknown;
                if !self.keeps_files_when_unknown {
                    next.files &= !bit(writer);
                }
            }
            Step::Answer(writer) => {
                let Phase::Published(slot) = world.writers[writer] else { return None };
                next.answer(writer, slot, self);
            }
            Step::Die(writer) => next.writers[writer] = Phase::Dead,
            Step::Age => next.aged = next.files,
            Step::Checkpoint => {
                next.folded = world.visible();
                next.floor = world.next_slot();
            }
            Step::Announce => {
                next.vacuums += 1;
                next.doomed = world.garbage();
                next.condemned |= next.doomed;
                if self.vacuum_takes_a_version {
                    let slot = world.next_slot();
                    if slot == SLOTS {
                        return None;
                    }
                    next.slots[slot] = Slot::Vacuum;
                }
            }
            Step::DeleteFiles => {
                next.files &= !world.doomed;
                next.doomed = 0;
            }
            Step::DeleteSlots => next.slots[..world.floor].fill(Slot::Free),
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ACKED_STAYS, |_, world: &World| {
                world.answered(Phase::Acked).all(|writer| world.visible() & bit(writer) != 0)
            }),
            Property::always(REFUSED_NEVER_COMES, |_, world: &World| {
                world.answered(Phase::Refused).all(|writer| world.visible() & bit(writer) == 0)
            }),
            Property::always(AT_MOST_ONCE, |rules: &Self, world: &World| {
                // A record that came back into a deleted slot below the checkpoint is read by nobody.
                rules.deletes_slots || world.landed.iter().all(|times| *times <= 1)
            }),
            Property::always(ONE_OWNER, |rules: &Self, world: &World| {
                !rules.same_pair || world.visible().count_ones() <= 1
            }),
            Property::always(ROWS_ARE_THERE, |_, world: &World| {
                world.visible() & !world.files == 0
            }),
            // That the model is not too tame to find anything.
            Property::sometimes("both appends are acknowledged", |rules: &Self, world: &World| {
                rules.same_pair || world.answered(Phase::Acked).count() == WRITERS
            }),
            Property::sometimes("an append is refused", |_, world: &World| {
                world.answered(Phase::Refused).count() > 0
            }),
            Property::sometimes("an unknown append lands after all", |_, world: &World| {
                world.answered(Phase::Unknown).any(|writer| world.landed[writer] > 0)
            }),
            Property::sometimes("a file is deleted", |_, world: &World| {
                world.vacuums > 0 && world.doomed == 0 && world.files == 0
            }),
            Property::sometimes(
                "a checkpoint covers a vacuum and an append",
                |_, world: &World| world.floor >= 2 && world.folded != 0 && world.vacuums > 0,
            ),
        ]
    }
}

/// C1: what was acknowledged is in every later version.
pub const ACKED_STAYS: &str = "what was acknowledged stays";
/// C2: what was refused is in none.
pub const REFUSED_NEVER_COMES: &str = "what was refused never comes";
/// C4: no append gets into the log twice.
pub const AT_MOST_ONCE: &str = "an append is in the log at most once";
/// C6: a pair has one owner.
pub const ONE_OWNER: &str = "a pair has one owner";
/// C3, C9: the files that a version names exist.
pub const ROWS_ARE_THERE: &str = "the rows of every version are there";
