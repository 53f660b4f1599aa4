"""One apply process: claims chunks from the ledger, feeds workers, records results. The top room of executor/;
only the face imports it."""
