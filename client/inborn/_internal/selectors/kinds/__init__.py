"""One module for each kind of workload attestor, with what it declares (`DECLARATION`). Found by their being here."""
