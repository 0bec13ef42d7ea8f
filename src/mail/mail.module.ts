import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Mailer } from './mailer.js';
import { OutboxMail } from './outbox-mail.entity.js';
import { OutboxRepository } from './outbox.repository.js';
import { Outbox } from './outbox.js';

/** E-mail: texts, the outbox, the mail server. */
@Module({
  imports: [TypeOrmModule.forFeature([OutboxMail])],
  providers: [Mailer, Outbox, OutboxRepository],
  exports: [Outbox, OutboxRepository],
})
export class MailModule {}
