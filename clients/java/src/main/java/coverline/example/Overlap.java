package coverline.example;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import java.util.Map;
import java.util.Optional;
import org.apache.arrow.flight.FlightRuntimeException;

/**
 * What a refused append says about the rows that are there already.
 *
 * @param table the table that refused
 * @param count (entity, bucket) pairs of the append that other appends own
 * @param entity one of them, for example {@code symbol="AAPL"}
 * @param bucketStart where its bucket starts
 * @param bucketEnd where its bucket ends, exclusive
 * @param ownerVersion the version that owns it
 * @param identical whether the append has the very rows of that version; empty when the server does not know
 */
public record Overlap(
    String table,
    long count,
    String entity,
    String bucketStart,
    String bucketEnd,
    long ownerVersion,
    Optional<Boolean> identical) {

  /** The name under which Flight, JDBC and ADBC have the details of an error. */
  public static final String DETAILS = "grpc-status-details-bin";

  @Override
  public String toString() {
    // Other rows for the same buckets are no repeat: somebody has to decide which ones are right.
    return "%s, %d overlapping buckets (first %s [%s, %s), since version %d)"
        .formatted(identical.orElse(true) ? "already loaded" : "refused", count, entity, bucketStart, bucketEnd, ownerVersion);
  }

  /** The overlap that an error of Flight, or any of its causes, reports; empty for every other error. */
  public static Optional<Overlap> of(Throwable error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof FlightRuntimeException flight
          && flight.status().metadata() != null
          && flight.status().metadata().containsKey(DETAILS)) {
        return parse(flight.status().metadata().getByte(DETAILS));
      }
    }
    return Optional.empty();
  }

  /** The same from the bytes of a {@code google.rpc.Status}, as every gRPC client gets them. */
  public static Optional<Overlap> parse(byte[] statusDetails) {
    try {
      for (Any detail : Status.parseFrom(statusDetails).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          if (info.getReason().equals("COVERAGE_OVERLAP")) {
            return Optional.of(of(info.getMetadataMap()));
          }
        }
      }
      return Optional.empty();
    } catch (InvalidProtocolBufferException notDetails) {
      return Optional.empty();
    }
  }

  private static Overlap of(Map<String, String> fields) {
    return new Overlap(
        fields.get("table"),
        Long.parseLong(fields.get("overlap_count")),
        fields.get("example_entity"),
        fields.get("bucket_start"),
        fields.get("bucket_end"),
        Long.parseLong(fields.getOrDefault("owner_version", "0")),
        Optional.ofNullable(fields.get("identical")).map(Boolean::valueOf));
  }
}
