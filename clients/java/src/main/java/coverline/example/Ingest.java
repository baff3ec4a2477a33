package coverline.example;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.UnknownFieldSet;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import org.apache.arrow.flight.FlightClient;
import org.apache.arrow.flight.FlightDescriptor;
import org.apache.arrow.flight.FlightRuntimeException;
import org.apache.arrow.flight.Location;
import org.apache.arrow.flight.PutResult;
import org.apache.arrow.flight.SyncPutListener;
import org.apache.arrow.flight.sql.FlightSqlClient;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
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

/**
 * Appends CSV files of hourly prices to a table, each as one version. Run it twice: the second time every file is refused as
 * already loaded, and the table stays as it is.
 *
 * <pre>Ingest grpc://HOST:PORT TABLE FILE.csv...</pre>
 */
public final class Ingest {
  private static final int BATCH_ROWS = 65_536;

  private static final Schema SCHEMA =
      new Schema(
          List.of(
              new Field("ts", FieldType.notNullable(new ArrowType.Timestamp(TimeUnit.MICROSECOND, "UTC")), null),
              new Field("symbol", FieldType.notNullable(new ArrowType.Utf8()), null),
              new Field("close", FieldType.nullable(new ArrowType.FloatingPoint(FloatingPointPrecision.DOUBLE)), null)));

  /** What the server answers to an append: {@code coverline.flight.v1.AppendReceipt}. */
  private record Receipt(long version, long rows) {
    private static final int ROWS = 1;
    private static final int VERSION = 101;

    static Receipt parse(byte[] message) throws InvalidProtocolBufferException {
      UnknownFieldSet fields = UnknownFieldSet.parseFrom(message);
      return new Receipt(number(fields, VERSION), number(fields, ROWS));
    }

    private static long number(UnknownFieldSet fields, int field) {
      List<Long> values = fields.getField(field).getVarintList();
      return values.isEmpty() ? 0 : values.get(0);
    }
  }

  private Ingest() {}

  public static void main(String[] args) throws Exception {
    if (args.length < 3) {
      System.err.println("usage: Ingest grpc://HOST:PORT TABLE FILE.csv...");
      System.exit(2);
    }
    String table = args[1];
    try (BufferAllocator allocator = new RootAllocator();
        FlightClient flight = FlightClient.builder(allocator, new Location(URI.create(args[0]))).build();
        FlightSqlClient sql = new FlightSqlClient(flight)) {
      sql.executeUpdate(
          "CREATE TABLE IF NOT EXISTS \"%s\" (ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) "
                  .formatted(table.replace("\"", "\"\""))
              + "WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')");
      for (String name : List.of(args).subList(2, args.length)) {
        Path file = Path.of(name);
        try {
          Receipt receipt = append(flight, allocator, table, file);
          System.out.printf("%s: version %d, %d rows%n", file.getFileName(), receipt.version(), receipt.rows());
        } catch (FlightRuntimeException | ExecutionException error) {
          Optional<Overlap> refused = Overlap.of(error);
          if (refused.isEmpty()) {
            throw error;
          }
          Overlap overlap = refused.get();
          System.out.printf(
              "%s: already loaded, %d overlapping buckets (first %s [%s, %s), since version %d)%n",
              file.getFileName(),
              overlap.count(),
              overlap.entity(),
              overlap.bucketStart(),
              overlap.bucketEnd(),
              overlap.ownerVersion());
        }
      }
    }
  }

  /** Sends one file as one append: all of it becomes one version, or nothing does. */
  private static Receipt append(FlightClient flight, BufferAllocator allocator, String table, Path file)
      throws IOException, InterruptedException, ExecutionException {
    try (VectorSchemaRoot batch = VectorSchemaRoot.create(SCHEMA, allocator);
        SyncPutListener answers = new SyncPutListener();
        BufferedReader lines = Files.newBufferedReader(file)) {
      FlightClient.ClientStreamListener stream = flight.startPut(FlightDescriptor.path(table), batch, answers);
      lines.readLine(); // the header
      while (fill(batch, lines)) {
        stream.putNext();
      }
      stream.completed();
      try (PutResult answer = answers.read()) {
        if (answer == null) {
          throw new IOException("the server ended the append of " + file + " without a receipt");
        }
        byte[] receipt = new byte[(int) answer.getApplicationMetadata().readableBytes()];
        answer.getApplicationMetadata().readBytes(receipt);
        return Receipt.parse(receipt);
      }
    }
  }

  /** Reads the next rows into the batch; false at the end of the file. */
  private static boolean fill(VectorSchemaRoot batch, BufferedReader lines) throws IOException {
    var ts = (TimeStampMicroTZVector) batch.getVector("ts");
    var symbol = (VarCharVector) batch.getVector("symbol");
    var close = (Float8Vector) batch.getVector("close");
    int row = 0;
    for (String line; row < BATCH_ROWS && (line = lines.readLine()) != null; row++) {
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
