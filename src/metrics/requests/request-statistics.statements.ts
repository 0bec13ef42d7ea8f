/** The function locks rows in one order. */
export const RECORD = {
  name: 'requests-record',
  text: `SELECT record_requests($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::smallint[], $7::bigint[], $8::float8[])`,
};
