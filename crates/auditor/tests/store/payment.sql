INSERT INTO head VALUES (1, 1, 'log_y', 4, 2, 1050, 1, '0.1.0');
INSERT INTO inbox VALUES
    (1, 'msg_o3', 'order.cmd.payment.authorize.v1', 'ord_1', 'order', 3, '', '', 'system', 1021, NULL, '{"o":3}', NULL, NULL, '0.1.0'),
    (2, 'op_1:result', 'payment.eff.authorize.v1', 'ord_1', NULL, NULL, '', '', 'system', 1024, NULL, '{}', NULL, NULL, '0.1.0'),
    (3, 'msg_o5', 'order.cmd.payment.capture.v1', 'ord_1', 'order', 5, '', '', 'system', 1041, NULL, '{"o":5}', NULL, NULL, '0.1.0'),
    (4, 'op_2:result', 'payment.eff.capture.v1', 'ord_1', NULL, NULL, '', '', 'system', 1050, NULL, '{}', NULL, NULL, '0.1.0');
INSERT INTO outbox VALUES
    (1, 'msg_y1', 'payment.evt.authorized.v1', 'ord_1', 'op_1:result', '', 'system', 1024, NULL, '{"y":1}'),
    (2, 'msg_y2', 'payment.evt.captured.v1', 'ord_1', 'op_2:result', '', 'system', 1050, NULL, '{"y":2}');
INSERT INTO read_cursor VALUES ('payment', 'order', 'log_o', 5, 'msg_o5');
INSERT INTO payment VALUES ('ord_1', 'pay_1', 'usr_1', 'GBP', 100, 'succeeded', NULL, 'pi_1', 0, 0, 100, 0, 0, 'none', NULL,
    '{}', '{}', '{}', 0, 0, NULL, 2, 2, 1021, 1050);
INSERT INTO transfer VALUES
    ('pay_1-1', 'pay_1', 'ord_1', 1, 'authorize', 'posted', NULL, NULL, 'authorized_holds', 'customer', 100, 'GBP', 1024),
    ('pay_1-2', 'pay_1', 'ord_1', 2, 'capture', 'posted', NULL, NULL, 'captured', 'authorized_holds', 100, 'GBP', 1050);
