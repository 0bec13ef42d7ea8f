import { ApiProperty } from '@nestjs/swagger';

const text = (format: string) => (): PropertyDecorator => ApiProperty({ type: 'string', format });

/** Documents a text as an id (UUIDv7). */
export const ApiId = text('uuid');

/** Documents a text as a date and time: RFC 3339, in UTC. */
export const ApiTime = text('date-time');

/** Documents a text as an e-mail address. */
export const ApiEmail = text('email');

/** Documents a text as an absolute URI (RFC 3986). */
export const ApiUri = text('uri');
