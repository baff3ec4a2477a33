package coverline.example;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import org.apache.arrow.vector.Float8Vector;
import org.apache.arrow.vector.TimeStampMicroTZVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.types.FloatingPointPrecision;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.FieldType;
import org.apache.arrow.vector.types.pojo.Schema;

/** The hourly prices that the examples append: their table, and how lines of a CSV file become an Arrow batch. */
final class Prices {
  static final Schema SCHEMA =
      new Schema(
          List.of(
              new Field("ts", FieldType.notNullable(new ArrowType.Timestamp(TimeUnit.MICROSECOND, "UTC")), null),
              new Field("symbol", FieldType.notNullable(new ArrowType.Utf8()), null),
              new Field("close", FieldType.nullable(new ArrowType.FloatingPoint(FloatingPointPrecision.DOUBLE)), null)));

  private Prices() {}

  /** The statement that makes the table if it is not there. */
  static String createTable(String table) {
    return "CREATE TABLE IF NOT EXISTS %s (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) "
            .formatted(quoted(table))
        + "WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')";
  }

  /** The name of a table as SQL has it. */
  static String quoted(String table) {
    return '"' + table.replace("\"", "\"\"") + '"';
  }

  /** Reads the next rows into the batch; false at the end of the file. */
  static boolean fill(VectorSchemaRoot batch, BufferedReader lines, int rowsMax) throws IOException {
    var ts = (TimeStampMicroTZVector) batch.getVector("ts");
    var symbol = (VarCharVector) batch.getVector("symbol");
    var close = (Float8Vector) batch.getVector("close");
    int row = 0;
    for (String line; row < rowsMax && (line = lines.readLine()) != null; row++) {
      String[] cells = line.split(",", -1);
      ts.setSafe(row, ChronoUnit.MICROS.between(Instant.EPOCH, Instant.parse(cells[0])));
      symbol.setSafe(row, cells[1].getBytes(StandardCharsets.UTF_8));
      if (cells[2].isEmpty()) {
        close.setNull(row);
      } else {
        close.setSafe(row, Double.parseDouble(cells[2]));
      }
    }
    batch.setRowCount(row);
    return row > 0;
  }
}
