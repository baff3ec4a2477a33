// Package overlap reads what a refused append says about the rows that are there already.
package overlap

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/arrow-adbc/go/adbc"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	reason     = "COVERAGE_OVERLAP"
	adbcDetail = "grpc-status-details-bin"
)

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
	// Identical is "true" when the append has the very rows of that version, "false" when not, as for a revision, and empty when the
	// server does not know.
	Identical string
}

func (o *Overlap) String() string {
	// Other rows for the same buckets are no repeat: somebody has to decide which ones are right.
	kind := "already loaded"
	if o.Identical == "false" {
		kind = "refused"
	}
	return fmt.Sprintf("%s, %d overlapping buckets (first %s [%s, %s), since version %d)",
		kind, o.Count, o.Entity, o.BucketStart, o.BucketEnd, o.OwnerVersion)
}

// Of gives the overlap that an error of ADBC or of any gRPC client reports, or nil for every other error.
func Of(err error) *Overlap {
	for _, info := range details(err) {
		if info.GetReason() != reason {
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
			Identical:    fields["identical"],
		}
	}
	return nil
}

func details(err error) []*errdetails.ErrorInfo {
	var found []*errdetails.ErrorInfo
	var refused adbc.Error
	if errors.As(err, &refused) {
		// ADBC lists headers and details alike; a detail comes in the Any in which gRPC has it.
		for _, detail := range refused.Details {
			var packed anypb.Any
			var info errdetails.ErrorInfo
			if detail.Key() != adbcDetail {
				continue
			}
			if value, err := detail.Serialize(); err == nil && proto.Unmarshal(value, &packed) == nil && packed.UnmarshalTo(&info) == nil {
				found = append(found, &info)
			}
		}
		return found
	}
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			found = append(found, info)
		}
	}
	return found
}
