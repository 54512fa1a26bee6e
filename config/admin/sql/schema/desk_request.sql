-- The request log: a row for each answered request, in a partition for each day. `config.ops.request_log` creates the
-- partitions, writes the rows and drops the partitions.
CREATE TABLE desk_request (
    -- Microseconds since 1970, followed by ten bits that tell rows of the same microsecond apart.
    id bigint PRIMARY KEY,
    request_id varchar(64) NOT NULL,
    method varchar(7) NOT NULL,
    route varchar(200) NOT NULL,
    status smallint NOT NULL,
    milliseconds real NOT NULL,
    client varchar(45) NOT NULL,
    api_key_id uuid,
    wallet_id uuid,
    user_id integer,
    error varchar(40) NOT NULL
) PARTITION BY RANGE (id)
