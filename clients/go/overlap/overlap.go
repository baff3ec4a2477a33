// Package overlap reads what a refused append says about the rows that are there already.
package overlap

import (
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

const reason = "COVERAGE_OVERLAP"

// Overlap is why an append was refused. Nothing of it was committed.
type Overlap struct {
	Table string
	// Count of (entity, bucket) pairs of the append that other appends own.
	Count int64
	// Entity is one of them, for example symbol="AAPL".
	Entity string
	// BucketStart and BucketEnd (exclusive) bound its bucket.
	BucketStart, BucketEnd string
	// OwnerVersion is the version that owns it.
	OwnerVersion uint64
}

// Of gives the overlap that an error of any gRPC client reports, or nil for every other error.
func Of(err error) *Overlap {
	answer, ok := status.FromError(err)
	if !ok {
		return nil
	}
	for _, detail := range answer.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetReason() != reason {
			continue
		}
		fields := info.GetMetadata()
		count, _ := strconv.ParseInt(fields["overlap_count"], 10, 64)
		owner, _ := strconv.ParseUint(fields["owner_version"], 10, 64)
		return &Overlap{
			Table:        fields["table"],
			Count:        count,
			Entity:       fields["example_entity"],
			BucketStart:  fields["bucket_start"],
			BucketEnd:    fields["bucket_end"],
			OwnerVersion: owner,
		}
	}
	return nil
}
