//! What the demo says: steps, results, and how to connect. Coloured on a terminal, plain text elsewhere.

use std::io::{self, Write};
use std::net::SocketAddr;

use arrow::array::RecordBatch;

use crate::cli::CliError;
use crate::cli::render::TableWriter;

/// Tells a person what happens.
pub(super) struct Report<W> {
    out: W,
    /// ANSI sequences may be used.
    colours: bool,
    step_count: u32,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const CYAN: &str = "36";

impl<W: Write> Report<W> {
    pub(super) fn new(out: W, colours: bool) -> Self {
        Self { out, colours, step_count: 0 }
    }

    pub(super) fn title(&mut self, text: &str) -> io::Result<()> {
        let text = self.paint(BOLD, text);
        writeln!(self.out, "{text}")
    }

    /// A remark below a title or a step.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        let text = self.paint(DIM, text);
        writeln!(self.out, "  {text}")
    }

    /// What happens next.
    pub(super) fn step(&mut self, text: &str) -> io::Result<()> {
        self.step_count += 1;
        let number = self.paint(CYAN, &format!("{}.", self.step_count));
        let text = self.paint(BOLD, text);
        writeln!(self.out, "\n{number} {text}")?;
        self.out.flush()
    }

    /// What came of it.
    pub(super) fn done(&mut self, text: &str) -> io::Result<()> {
        let mark = self.paint(GREEN, "ok");
        writeln!(self.out, "   {mark} {text}")
    }

    /// The rows of a result, indented.
    pub(super) fn table(&mut self, batches: &[RecordBatch]) -> Result<(), CliError> {
        let Some(first) = batches.first() else {
            return Ok(writeln!(self.out, "   (0 rows)")?);
        };
        let mut table = TableWriter::new(Vec::new(), first.schema());
        for batch in batches {
            table.write(batch)?;
        }
        for line in String::from_utf8_lossy(&table.finish()?).lines() {
            writeln!(self.out, "   {line}")?;
        }
        Ok(())
    }

    /// A statement about to run.
    pub(super) fn sql(&mut self, sql: &str) -> io::Result<()> {
        for line in sql.lines() {
            let line = self.paint(DIM, line);
            writeln!(self.out, "   {line}")?;
        }
        Ok(())
    }

    /// How other programs connect to the server.
    pub(super) fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        self.step("connect your own tools")?;
        let query = "SELECT origin, count(*) FROM weather GROUP BY origin";
        self.snippet(
            "Python, pyarrow.flight",
            &format!(
                "import pyarrow.flight as flight\n\
                 client = flight.connect(\"grpc://{address}\")\n\
                 info = client.get_flight_info(flight.FlightDescriptor.for_command(b\"{query}\"))\n\
                 print(client.do_get(info.endpoints[0].ticket).read_all())"
            ),
        )?;
        self.snippet(
            "Python, ADBC",
            &format!(
                "import adbc_driver_flightsql.dbapi as adbc\n\
                 with adbc.connect(\"grpc://{address}\") as connection, connection.cursor() as cursor:\n\
                 \x20   cursor.execute(\"{query}\")\n\
                 \x20   print(cursor.fetch_arrow_table())"
            ),
        )?;
        self.snippet(
            "JDBC (DBeaver, Tableau, any Java program)",
            &format!("jdbc:arrow-flight-sql://{address}/?useEncryption=false"),
        )
    }

    fn snippet(&mut self, title: &str, text: &str) -> io::Result<()> {
        let title = self.paint(DIM, title);
        writeln!(self.out, "   {title}")?;
        for line in text.lines() {
            writeln!(self.out, "     {line}")?;
        }
        writeln!(self.out)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}
