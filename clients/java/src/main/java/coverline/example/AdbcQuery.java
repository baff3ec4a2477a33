package coverline.example;

import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.arrow.adbc.core.AdbcConnection;
import org.apache.arrow.adbc.core.AdbcDatabase;
import org.apache.arrow.adbc.core.AdbcDriver;
import org.apache.arrow.adbc.core.AdbcStatement;
import org.apache.arrow.adbc.driver.flightsql.FlightSqlDriver;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.TimeStampMicroTZVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.ipc.ArrowReader;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.Schema;

/**
 * Asks by ADBC what a table holds since some moment, and what is missing in it.
 *
 * <pre>AdbcQuery grpc://HOST:PORT TABLE SINCE</pre>
 */
public final class AdbcQuery {
  private AdbcQuery() {}

  public static void main(String[] args) throws Exception {
    if (args.length != 3) {
      System.err.println("usage: AdbcQuery grpc://HOST:PORT TABLE SINCE");
      System.exit(2);
    }
    Map<String, Object> options = new HashMap<>();
    AdbcDriver.PARAM_URI.set(options, args[0]);
    try (BufferAllocator allocator = new RootAllocator();
        AdbcDatabase database = new FlightSqlDriver(allocator).open(options);
        AdbcConnection connection = database.connect()) {
      held(connection, allocator, args[1], Instant.parse(args[2]));
      missing(connection, args[1]);
    }
  }

  private static void held(AdbcConnection connection, BufferAllocator allocator, String table, Instant since)
      throws Exception {
    try (AdbcStatement statement = connection.createStatement()) {
      statement.setSqlQuery(
          "SELECT symbol, min(ts), max(ts), count(*) FROM %s WHERE ts >= ? GROUP BY symbol ORDER BY symbol"
              .formatted(Prices.quoted(table)));
      statement.prepare();
      // Parameters are a batch: a column for each, and one row. getParameterSchema() has milliseconds, for JDBC; any unit will do.
      Schema columns = new Schema(List.of(Field.notNullable("since", new ArrowType.Timestamp(TimeUnit.MICROSECOND, "UTC"))));
      try (VectorSchemaRoot parameters = VectorSchemaRoot.create(columns, allocator)) {
        ((TimeStampMicroTZVector) parameters.getVector("since")).setSafe(0, ChronoUnit.MICROS.between(Instant.EPOCH, since));
        parameters.setRowCount(1);
        statement.bind(parameters);
        print(statement, "%s: %s to %s, %d rows%n");
      }
    }
  }

  private static void missing(AdbcConnection connection, String table) throws Exception {
    try (AdbcStatement statement = connection.createStatement()) {
      // The argument of a table function is part of the plan, so it is text of the statement and no parameter.
      statement.setSqlQuery(
          "SELECT symbol, gap_start, gap_end, missing_buckets FROM gaps('%s') ORDER BY symbol, gap_start"
              .formatted(table.replace("'", "''")));
      print(statement, "%s: nothing from %s to %s, %d buckets%n");
    }
  }

  /** Prints the rows of a query: a text, two moments and a number each. */
  private static void print(AdbcStatement statement, String format) throws Exception {
    try (AdbcStatement.QueryResult result = statement.executeQuery();
        ArrowReader batches = result.getReader()) {
      while (batches.loadNextBatch()) {
        VectorSchemaRoot batch = batches.getVectorSchemaRoot();
        for (int row = 0; row < batch.getRowCount(); row++) {
          System.out.printf(
              format,
              batch.getVector(0).getObject(row),
              moment(batch, 1, row),
              moment(batch, 2, row),
              batch.getVector(3).getObject(row));
        }
      }
    }
  }

  private static Instant moment(VectorSchemaRoot batch, int column, int row) {
    return Instant.EPOCH.plus(((TimeStampMicroTZVector) batch.getVector(column)).get(row), ChronoUnit.MICROS);
  }
}
